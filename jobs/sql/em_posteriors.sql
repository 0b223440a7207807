-- Grain: task_key. {scores}: log joint probability of the task's answers and each option, up to a
-- constant, array<double> by option_index; known_option: the task's truth, null where it is unknown.
-- posterior: the softmax of the scores; all of it on the truth where that is known.
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
  CASE
    WHEN known_option IS NULL THEN transform(scores, score -> exp(score - log_total))
    ELSE transform(scores, (_, o) -> CASE WHEN o = known_option THEN 1D ELSE 0D END)
  END AS posterior
FROM totals
