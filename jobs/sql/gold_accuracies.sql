-- Grain: worker_key, of the projects in which somebody answered a gold task. {answers}: known_option is
-- the truth of a gold task. weight: share of the worker's answers to gold tasks that name the truth; that
-- of all the project's workers together for those who have none.
WITH per_worker AS (
  SELECT
    project_key,
    worker_key,
    count(known_option) AS num_gold,
    count_if(option_index = known_option) AS num_right
  FROM {answers}
  GROUP BY
    project_key,
    worker_key
),
per_project AS (
  SELECT
    project_key,
    sum(num_right) / sum(num_gold) AS accuracy
  FROM per_worker
  GROUP BY
    project_key
  HAVING sum(num_gold) > 0
)
SELECT
  per_worker.project_key,
  per_worker.worker_key,
  coalesce(num_right / nullif(num_gold, 0), accuracy) AS weight
FROM per_worker
JOIN per_project
  ON per_worker.project_key = per_project.project_key
