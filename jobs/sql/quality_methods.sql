-- Grain: project_id, method, of those with labels. {probabilities}: quality_probabilities.sql; {truth}:
-- quality_truth.sql; {tasks}: quality_tasks.sql. num_differing: labels (of num_labelled) other than
-- that of {reference}.
WITH totals AS (
  SELECT
    project_id,
    method,
    sum(num_tasks) AS num_labelled,
    coalesce(sum(num_tasks) FILTER (WHERE percent IS NOT NULL), 0) AS num_probabilities,
    sum(probability_units) AS probability_units
  FROM {probabilities}
  GROUP BY
    project_id,
    method
),
differing AS (
  SELECT
    project_id,
    method,
    count(*) AS num_differing
  FROM {tasks}
  LATERAL VIEW explode(dissenting_methods) listed AS method
  GROUP BY
    project_id,
    method
)
SELECT
  totals.project_id,
  totals.method,
  totals.num_labelled,
  totals.num_probabilities,
  totals.probability_units / {unit} / nullif(totals.num_probabilities, 0) AS mean_probability,
  {reference} AS reference_method,
  coalesce(differing.num_differing, 0) AS num_differing,
  coalesce(differing.num_differing, 0) / totals.num_labelled AS disagreement_with_reference,
  coalesce(truth.num_gold, 0) AS num_gold,
  coalesce(truth.num_correct, 0) AS num_correct,
  truth.accuracy,
  coalesce(truth.num_classes, 0) AS num_classes,
  truth.macro_f1,
  coalesce(truth.num_calibrated, 0) AS num_calibrated,
  truth.expected_calibration_error,
  truth.confusion
FROM totals
LEFT JOIN differing
  ON totals.project_id = differing.project_id
  AND totals.method = differing.method
LEFT JOIN {truth} AS truth
  ON totals.project_id = truth.project_id
  AND totals.method = truth.method
