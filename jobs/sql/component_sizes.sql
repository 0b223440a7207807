-- Grain: project_id, component_id. {annotations} carries component_id.
SELECT
  project_id,
  component_id,
  count(DISTINCT task_id) AS num_tasks,
  count(DISTINCT worker_id) AS num_workers,
  count(*) AS num_annotations,
  count(DISTINCT label) AS num_options
FROM {annotations}
GROUP BY
  project_id,
  component_id
