CREATE TABLE out (window_end TIMESTAMP(3), m BIGINT) WITH ('connector' = 'blackhole');
CREATE VIEW counts AS SELECT auction, window_time AS t, COUNT(*) AS num
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND)) GROUP BY auction, window_start, window_end, window_time;
INSERT INTO out SELECT window_end, MAX(num) FROM TABLE(TUMBLE(TABLE counts, DESCRIPTOR(t), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
