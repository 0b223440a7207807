-- Grain: project_id, method, of those with labels of tasks with known truth. {judged}:
-- quality_judged.sql. macro_f1: mean of the F1 of the num_classes options that are a label or the truth
-- of such a task. expected_calibration_error: mean over the num_calibrated tasks of the distance
-- between accuracy and mean probability in the task's bin; ten equal bins of probability, to which
-- their upper edge belongs (Guo et al. 2017). confusion: the {max_cells} most frequent pairs.
WITH cells AS (
  SELECT
    project_id,
    method,
    true_label,
    label,
    count(*) AS num_tasks
  FROM {judged}
  GROUP BY
    project_id,
    method,
    true_label,
    label
),
margins AS (
  SELECT
    project_id,
    method,
    true_label AS option,
    num_tasks AS num_true,
    0 AS num_named,
    IF(true_label = label, num_tasks, 0) AS num_correct
  FROM cells
  UNION ALL
  SELECT
    project_id,
    method,
    label AS option,
    0 AS num_true,
    num_tasks AS num_named,
    0 AS num_correct
  FROM cells
),
options AS (
  SELECT
    project_id,
    method,
    option,
    sum(num_true) AS num_true,
    sum(num_named) AS num_named,
    sum(num_correct) AS num_correct
  FROM margins
  GROUP BY
    project_id,
    method,
    option
),
scores AS (
  SELECT
    project_id,
    method,
    sum(num_true) AS num_gold,
    sum(num_correct) AS num_correct,
    count(*) AS num_classes,
    avg(2 * num_correct / (num_true + num_named)) AS macro_f1
  FROM options
  GROUP BY
    project_id,
    method
),
bins AS (
  SELECT
    project_id,
    method,
    greatest(least(ceil(probability * 10), 10), 1) AS bin,
    count(*) AS num_tasks,
    count_if(label = true_label) - sum(probability) AS excess
  FROM {judged}
  WHERE probability IS NOT NULL
  GROUP BY
    project_id,
    method,
    greatest(least(ceil(probability * 10), 10), 1)
),
calibrations AS (
  SELECT
    project_id,
    method,
    sum(num_tasks) AS num_calibrated,
    sum(abs(excess)) / sum(num_tasks) AS expected_calibration_error
  FROM bins
  GROUP BY
    project_id,
    method
),
confusions AS (
  SELECT
    project_id,
    method,
    sort_array(collect_list(struct(-num_tasks AS most_first, true_label, label))) AS cells
  FROM cells
  GROUP BY
    project_id,
    method
)
SELECT
  scores.project_id,
  scores.method,
  scores.num_gold,
  scores.num_correct,
  scores.num_correct / scores.num_gold AS accuracy,
  scores.num_classes,
  scores.macro_f1,
  coalesce(calibrations.num_calibrated, 0) AS num_calibrated,
  calibrations.expected_calibration_error,
  transform(
    slice(confusions.cells, 1, {max_cells}),
    cell -> struct(cell.true_label, cell.label, -cell.most_first AS num_tasks)
  ) AS confusion
FROM scores
JOIN confusions
  ON scores.project_id = confusions.project_id
  AND scores.method = confusions.method
LEFT JOIN calibrations
  ON scores.project_id = calibrations.project_id
  AND scores.method = calibrations.method
