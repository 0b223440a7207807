-- Grain: worker_key. {rates}: of dawid_skene_rates.sql; {fits}: class priors. score: probability that
-- the worker names the true option of a task drawn from the priors. rates: option -> probability that the
-- worker names it if it is true. An answer that the worker never gave has the rate of {smallest} answers.
WITH per_option AS (
  SELECT
    project_key,
    worker_key,
    true_option,
    coalesce(max(CASE WHEN option_index = true_option THEN units END), {smallest} * {unit})
      / max(total) AS rate
  FROM {rates}
  GROUP BY
    project_key,
    worker_key,
    true_option
)
SELECT
  per_option.worker_key,
  sum(CAST(rint(rate * fits.prior[true_option] * {unit}) AS BIGINT)) / CAST({unit} AS DOUBLE) AS score,
  map_from_entries(collect_list(struct(true_option, rate))) AS rates
FROM per_option
JOIN {fits} AS fits
  ON per_option.project_key = fits.project_key
GROUP BY
  per_option.worker_key
