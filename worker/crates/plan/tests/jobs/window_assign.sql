CREATE TABLE out (auction BIGINT, window_start TIMESTAMP(3), window_time TIMESTAMP(3)) WITH ('connector' = 'blackhole');
INSERT INTO out SELECT auction, window_start, window_time FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' MINUTE)) WHERE price > 5;
