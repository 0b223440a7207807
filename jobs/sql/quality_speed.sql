-- Grain: worker_hash, other_hash, of workers with answers that carry a time. {annotations}: the answers.
-- Workers are known by two hashes of their ids, as the answers of all are sorted here, and text is slow
-- to compare: of a billion workers no two are alike in 128 bits.
-- median_seconds: from one answer of the worker to the next, of num_intervals; intervals of more
-- than {max_seconds} seconds are pauses and left out.
-- Answers are sorted first by one number, the worker's first bits and the time, which Spark does
-- without comparing rows. The window sorts them exactly, and finds them in order but for workers
-- whose first 31 bits are alike.
WITH answers AS (
  SELECT
    xxhash64(project_id, worker_id) AS worker_hash,
    xxhash64(worker_id, project_id) AS other_hash,
    unix_seconds(annotated_at) AS second
  FROM {annotations}
  WHERE annotated_at IS NOT NULL
  DISTRIBUTE BY
    worker_hash,
    other_hash
  SORT BY
    (worker_hash & -8589934592L) | (second & 8589934591L)
),
intervals AS (
  SELECT
    worker_hash,
    other_hash,
    second - lag(second) OVER (PARTITION BY worker_hash, other_hash ORDER BY second) AS seconds
  FROM answers
)
SELECT
  worker_hash,
  other_hash,
  count(*) AS num_intervals,
  percentile(seconds, 0.5D) AS median_seconds
FROM intervals
WHERE seconds <= {max_seconds}
GROUP BY
  worker_hash,
  other_hash
