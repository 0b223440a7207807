-- Grain: project_id, worker_id, of workers with answers that carry a time. {annotations}: the answers.
-- median_seconds: from one answer of the worker to the next, of num_intervals; intervals of more
-- than {max_seconds} seconds are pauses and left out.
WITH hashed AS (
  SELECT
    -- A number first, as ids are slow to compare.
    xxhash64(project_id, worker_id) AS worker_hash,
    project_id,
    worker_id,
    annotated_at
  FROM {annotations}
  WHERE annotated_at IS NOT NULL
),
intervals AS (
  SELECT
    worker_hash,
    project_id,
    worker_id,
    unix_seconds(annotated_at) - lag(unix_seconds(annotated_at)) OVER (
      PARTITION BY worker_hash, project_id, worker_id
      ORDER BY annotated_at
    ) AS seconds
  FROM hashed
)
SELECT
  project_id,
  worker_id,
  count(*) AS num_intervals,
  percentile(seconds, 0.5D) AS median_seconds
FROM intervals
WHERE seconds <= {max_seconds}
GROUP BY
  worker_hash,
  project_id,
  worker_id
