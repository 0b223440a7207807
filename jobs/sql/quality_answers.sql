-- Grain: project_id, task_id, worker_id. {annotations}: the answers; {tasks}: quality_tasks.sql.
-- label: of the reference method; num_same: answers of the task that equal this one, itself included.
SELECT
  annotations.task_hash,
  annotations.project_id,
  annotations.task_id,
  annotations.worker_id,
  annotations.label AS answer,
  tasks.label,
  tasks.true_label,
  tasks.num_annotations AS num_task_annotations,
  element_at(
    tasks.votes.num_votes,
    CAST(nullif(array_position(tasks.votes.label, annotations.label), 0) AS INT)
  ) AS num_same
FROM {annotations} AS annotations
JOIN {tasks} AS tasks
  ON annotations.task_hash = tasks.task_hash
  AND annotations.project_id = tasks.project_id
  AND annotations.task_id = tasks.task_id
