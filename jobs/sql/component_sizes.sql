-- Grain: project_id, component_id. {annotations} carries component_id and task_hash; {workers}: one row
-- per worker of a project, with component_id. num_split_tasks: tasks that other components have, too,
-- which must not be. Components are compared by a hash, as groups of numbers take less than of text.
WITH tasks AS (
  SELECT
    project_id,
    task_id,
    min(xxhash64(component_id)) AS smallest,
    max(xxhash64(component_id)) AS component_hash,
    count(*) AS num_annotations
  FROM {annotations}
  GROUP BY
    task_hash,
    project_id,
    task_id
),
of_tasks AS (
  SELECT
    project_id,
    component_hash,
    count(*) AS num_tasks,
    sum(num_annotations) AS num_annotations,
    count_if(smallest <> component_hash) AS num_split_tasks
  FROM tasks
  GROUP BY
    project_id,
    component_hash
),
of_workers AS (
  SELECT
    project_id,
    component_id,
    count(*) AS num_workers
  FROM {workers}
  GROUP BY
    project_id,
    component_id
),
of_labels AS (
  SELECT
    project_id,
    component_id,
    count(DISTINCT label) AS num_options
  FROM {annotations}
  GROUP BY
    project_id,
    component_id
)
SELECT
  of_workers.project_id,
  of_workers.component_id,
  coalesce(of_tasks.num_tasks, 0) AS num_tasks,
  of_workers.num_workers,
  coalesce(of_tasks.num_annotations, 0) AS num_annotations,
  coalesce(of_labels.num_options, 0) AS num_options,
  coalesce(of_tasks.num_split_tasks, 0) AS num_split_tasks
FROM of_workers
LEFT JOIN of_tasks
  ON of_workers.project_id = of_tasks.project_id
  AND xxhash64(of_workers.component_id) = of_tasks.component_hash
LEFT JOIN of_labels
  ON of_workers.project_id = of_labels.project_id
  AND of_workers.component_id = of_labels.component_id
