-- Grain: project_id, task_id, method, of labels of tasks with known truth. {labels}:
-- aggregated_labels; {gold}: gold_labels.
SELECT
  labels.project_id,
  labels.task_id,
  labels.method,
  labels.label,
  labels.probability,
  gold.true_label
FROM {labels} AS labels
JOIN {gold} AS gold
  ON labels.project_id = gold.project_id
  AND labels.task_id = gold.task_id
