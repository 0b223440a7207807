-- Grain: project_id, task_id, method, of labels of tasks with known truth that the method was not told.
-- {labels}: aggregated_labels; {gold}: gold_labels, with is_given; {with_gold}: methods that were told
-- the truth of the tasks where it is given, separated by commas.
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
WHERE NOT (gold.is_given AND find_in_set(labels.method, {with_gold}) > 0)
