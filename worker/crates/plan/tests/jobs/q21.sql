CREATE TABLE out (auction BIGINT, channel VARCHAR, channel_id VARCHAR) WITH ('connector' = 'blackhole');
INSERT INTO out
SELECT auction, channel, CASE WHEN lower(channel) = 'apple' THEN '0' ELSE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) END AS channel_id
FROM bid WHERE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) IS NOT NULL OR lower(channel) IN ('apple', 'google');
