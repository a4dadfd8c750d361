CREATE TABLE out (bidder BIGINT, total BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO out WITH big AS (SELECT bidder, price FROM bid WHERE price >= 100)
SELECT b.bidder, SUM(b.price) AS total FROM big AS b GROUP BY b.bidder HAVING COUNT(*) > 1;
