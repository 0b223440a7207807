-- Grain: task_key. {scores}: log joint probability of the task's answers and each option, up to a
-- constant, array<double> by option_index. posterior: their softmax.
WITH largest AS (
  SELECT
    *,
    array_max(scores) AS most
  FROM {scores}
),
totals AS (
  SELECT
    *,
    most + ln(aggregate(scores, 0D, (sum, score) -> sum + exp(score - most))) AS log_total
  FROM largest
)
SELECT
  project_key,
  task_key,
  log_total,
  transform(scores, score -> exp(score - log_total)) AS posterior
FROM totals
