-- Grain: project_id, method, threshold, of methods with probabilities. {probabilities}:
-- quality_probabilities.sql; {judged}: quality_judged.sql. num_tasks (of num_labelled) have a
-- probability of at least the threshold; of num_gold of them the truth is known.
WITH counts AS (
  SELECT
    project_id,
    method,
    percent,
    num_tasks,
    0 AS num_gold,
    0 AS num_correct
  FROM {probabilities}
  WHERE percent IS NOT NULL
  UNION ALL
  SELECT
    project_id,
    method,
    floor(probability * 100 + 1e-9D) AS percent,
    0 AS num_tasks,
    count(*) AS num_gold,
    count_if(label = true_label) AS num_correct
  FROM {judged}
  WHERE probability IS NOT NULL
  GROUP BY
    project_id,
    method,
    floor(probability * 100 + 1e-9D)
),
cuts AS (
  SELECT
    project_id,
    method,
    cut,
    sum(num_tasks) AS num_labelled,
    sum(IF(percent >= cut, num_tasks, 0)) AS num_tasks,
    sum(IF(percent >= cut, num_gold, 0)) AS num_gold,
    sum(IF(percent >= cut, num_correct, 0)) AS num_correct
  FROM counts
  LATERAL VIEW explode(array(0, 50, 60, 70, 80, 90, 95, 99)) listed AS cut
  GROUP BY
    project_id,
    method,
    cut
)
SELECT
  project_id,
  method,
  cut / 100 AS threshold,
  num_labelled,
  num_tasks,
  num_tasks / num_labelled AS share_of_tasks,
  num_gold,
  num_correct,
  num_correct / nullif(num_gold, 0) AS accuracy
FROM cuts
