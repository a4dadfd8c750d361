CREATE TABLE out (auction BIGINT, `day` VARCHAR, total BIGINT, rank1 BIGINT, min_price BIGINT, avg_price BIGINT, sum_price BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO out
SELECT auction, DATE_FORMAT(dateTime, 'yyyy-MM-dd') AS `day`, count(*) AS total,
  count(*) FILTER (WHERE price < 10000) AS rank1, min(price), avg(price), sum(price)
FROM bid GROUP BY auction, DATE_FORMAT(dateTime, 'yyyy-MM-dd');
