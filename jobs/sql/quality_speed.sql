-- Grain: project_id, worker_id, of workers with answers that carry a time. {annotations}: the answers.
-- median_seconds: from one answer of the worker to the next, of num_intervals; intervals of more
-- than {max_seconds} seconds are pauses and left out.
WITH intervals AS (
  SELECT
    project_id,
    worker_id,
    unix_seconds(annotated_at) - lag(unix_seconds(annotated_at)) OVER (
      -- A number first, as ids are slow to compare.
      PARTITION BY xxhash64(project_id, worker_id), project_id, worker_id
      ORDER BY annotated_at
    ) AS seconds
  FROM {annotations}
  WHERE annotated_at IS NOT NULL
)
SELECT
  project_id,
  worker_id,
  count(*) AS num_intervals,
  percentile(seconds, 0.5D) AS median_seconds
FROM intervals
WHERE seconds <= {max_seconds}
GROUP BY
  project_id,
  worker_id
