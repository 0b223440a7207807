-- Grain: project_id, worker_id. {annotations} carries component_id and task_hash; {votes}:
-- task_votes.sql. Ratios are of the worker's answers.
-- Probabilities are summed in units of 1 / {unit}, as the sum of doubles depends on their order.
WITH answers AS (
  SELECT
    annotations.project_id,
    annotations.worker_id,
    annotations.component_id,
    annotations.label = votes.votes[0].label AS agrees,
    votes.votes.num_votes[array_position(votes.votes.label, annotations.label) - 1]
      / votes.num_annotations AS probability
  FROM {annotations} AS annotations
  JOIN {votes} AS votes
    ON annotations.task_hash = votes.task_hash
    AND annotations.project_id = votes.project_id
    AND annotations.task_id = votes.task_id
)
SELECT
  project_id,
  worker_id,
  'majority_vote' AS method,
  count_if(agrees) / count(*) AS score,
  CAST(NULL AS DOUBLE) AS ability,
  sum(CAST(rint(probability * {unit}) AS BIGINT)) / {unit} / count(*) AS expected_accuracy,
  count_if(agrees) / count(*) AS agreement_with_aggregate,
  count(*) AS num_annotations,
  count(*) AS num_tasks,
  CAST(NULL AS DOUBLE) AS spam_score,
  component_id
FROM answers
GROUP BY
  project_id,
  worker_id,
  component_id
