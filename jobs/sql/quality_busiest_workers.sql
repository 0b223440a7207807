-- Grain: project_id, worker_id, of the {max_workers} workers of each project with most answers to tasks
-- that others answered too. {confusions}: quality_confusions.sql.
WITH per_worker AS (
  SELECT
    project_id,
    worker_id,
    sum(num_with_peers) AS num_with_peers
  FROM {confusions}
  GROUP BY
    project_id,
    worker_id
),
ranked AS (
  SELECT
    project_id,
    worker_id,
    row_number() OVER (PARTITION BY project_id ORDER BY num_with_peers DESC, worker_id) AS place
  FROM per_worker
)
SELECT
  project_id,
  worker_id
FROM ranked
WHERE place <= {max_workers}
