-- Grain: project_id, worker_id. {results}: of method_results.sql; {scores}: the method's own score by
-- worker_key; {workers}: keys and ids. expected_accuracy is of all answers of the worker,
-- agreement_with_aggregate of those to tasks that have a label, null without any.
-- Probabilities are summed in whole units, so that their order does not matter.
WITH per_worker AS (
  SELECT
    answers.worker_key,
    sum(
      CAST(rint(coalesce(try_element_at(results.shares, answers.option_index), 0D) * {unit}) AS BIGINT)
    ) / CAST({unit} AS DOUBLE) / count(*) AS expected_accuracy,
    count_if(answers.option_index = results.label_option)
      / nullif(count(results.label_option), 0) AS agreement_with_aggregate
  FROM {answers} AS answers
  JOIN {results} AS results
    ON answers.task_key = results.task_key
  GROUP BY
    answers.worker_key
)
SELECT
  workers.project_id,
  workers.worker_id,
  {method} AS method,
  scores.score,
  CAST(NULL AS DOUBLE) AS ability,
  least(per_worker.expected_accuracy, 1D) AS expected_accuracy,
  per_worker.agreement_with_aggregate,
  workers.num_annotations,
  workers.num_annotations AS num_tasks,
  CAST(NULL AS DOUBLE) AS spam_score,
  workers.component_id
FROM {workers} AS workers
JOIN per_worker
  ON workers.worker_key = per_worker.worker_key
JOIN {scores} AS scores
  ON workers.worker_key = scores.worker_key
