-- Grain: task_key. {rates}: of dawid_skene_rates.sql; {fits}: class priors by project_key. scores:
-- log prior plus the log error rates of the task's answers (Dawid and Skene 1979, equation 2.5), by
-- true option. Logarithms are summed in whole units, so that their order does not matter.
WITH sums AS (
  SELECT
    answers.project_key,
    answers.task_key,
    rates.true_option,
    any_value(answers.known_option) AS known_option,
    sum(rates.log_rate_units) AS units
  FROM {answers} AS answers
  JOIN {rates} AS rates
    ON answers.worker_key = rates.worker_key
    AND answers.option_index = rates.option_index
  GROUP BY
    answers.project_key,
    answers.task_key,
    rates.true_option
)
SELECT
  sums.project_key,
  sums.task_key,
  any_value(sums.known_option) AS known_option,
  transform(
    sort_array(
      collect_list(
        struct(
          sums.true_option,
          sums.units / CAST({unit} AS DOUBLE) + ln(fits.prior[sums.true_option]) AS score
        )
      )
    ),
    s -> s.score
  ) AS scores
FROM sums
JOIN {fits} AS fits
  ON sums.project_key = fits.project_key
GROUP BY
  sums.project_key,
  sums.task_key
