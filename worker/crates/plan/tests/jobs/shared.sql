SET 'execution.checkpointing.interval' = '1s';
CREATE TABLE hot (auction BIGINT, price BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE sellers (seller BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
EXECUTE STATEMENT SET BEGIN
INSERT INTO hot SELECT auction, price FROM bid WHERE price > 1000;
INSERT INTO sellers SELECT seller, COUNT(*) FROM auction GROUP BY seller;
END;
