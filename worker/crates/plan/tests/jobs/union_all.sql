CREATE TABLE out (id BIGINT, what VARCHAR NOT NULL) WITH ('connector' = 'blackhole');
INSERT INTO out (what, id) SELECT 'person', id FROM person UNION ALL SELECT 'auction', id FROM auction;
INSERT INTO out SELECT CAST(bidder AS INT), channel FROM bid;
