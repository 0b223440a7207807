-- Grain: project_id, worker_id. {annotations} carries component_id and task_hash; {labels} is the result
-- of majority_vote_labels.sql with every option that was answered. Ratios are of the worker's answers.
-- Sums are decimal, so that they do not depend on the order in which executors add them up.
SELECT
  annotations.project_id,
  annotations.worker_id,
  'majority_vote' AS method,
  count_if(annotations.label = labels.label) / count(*) AS score,
  CAST(NULL AS DOUBLE) AS ability,
  CAST(
    sum(CAST(labels.probabilities[annotations.label] AS DECIMAL(18, 15))) / count(*) AS DOUBLE
  ) AS expected_accuracy,
  count_if(annotations.label = labels.label) / count(*) AS agreement_with_aggregate,
  count(*) AS num_annotations,
  count(*) AS num_tasks,
  CAST(NULL AS DOUBLE) AS spam_score,
  annotations.component_id
FROM {annotations} AS annotations
JOIN {labels} AS labels
  ON annotations.task_hash = xxhash64(labels.project_id, labels.task_id)
  AND annotations.project_id = labels.project_id
  AND annotations.task_id = labels.task_id
GROUP BY
  annotations.project_id,
  annotations.worker_id,
  annotations.component_id
