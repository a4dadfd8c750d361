CREATE TABLE out (maxprice BIGINT, window_end TIMESTAMP(3)) WITH ('connector' = 'blackhole');
INSERT INTO out
SELECT MAX(price) AS maxprice, window_end
FROM TABLE(TUMBLE(DATA => TABLE bid, TIMECOL => DESCRIPTOR(dateTime), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
