-- Grain: worker_key, option_index (an answer that the worker gave), true_option (every option).
-- {posteriors}: by task_key; {projects}: num_options. units: expected number of such answers, at least
-- {smallest}; total: of all answers of the worker if that is the true option; their share is the error
-- rate (Dawid and Skene 1979, equation 2.3). expectation: its log times the expected number.
-- Posteriors are summed in whole units, so that their order does not matter.
WITH certain AS (
  SELECT
    task_key,
    true_option,
    CAST(rint(share * {unit}) AS BIGINT) AS units
  FROM (
    SELECT
      task_key,
      posexplode(posterior) AS (true_option, share)
    FROM {posteriors}
  )
  WHERE rint(share * {unit}) > 0
),
counts AS (
  SELECT
    answers.project_key,
    answers.worker_key,
    answers.option_index,
    certain.true_option,
    sum(certain.units) AS units
  FROM {answers} AS answers
  JOIN certain
    ON answers.task_key = certain.task_key
  GROUP BY
    answers.project_key,
    answers.worker_key,
    answers.option_index,
    certain.true_option
),
pairs AS (
  SELECT
    counts.project_key,
    counts.worker_key,
    counts.option_index,
    projects.num_options,
    map_from_entries(collect_list(struct(counts.true_option, counts.units))) AS units_of
  FROM counts
  JOIN {projects} AS projects
    ON counts.project_key = projects.project_key
  GROUP BY
    counts.project_key,
    counts.worker_key,
    counts.option_index,
    projects.num_options
),
cells AS (
  SELECT
    *,
    coalesce(try_element_at(units_of, true_option), 0) AS counted,
    greatest(coalesce(try_element_at(units_of, true_option), 0) * 1D, {smallest} * {unit}) AS units
  FROM (
    SELECT
      *,
      explode(sequence(0, num_options - 1)) AS true_option
    FROM pairs
  )
),
totals AS (
  SELECT
    project_key,
    worker_key,
    option_index,
    true_option,
    counted,
    units,
    CAST(sum(CAST(units AS DECIMAL(38, 6))) OVER worker_and_truth AS DOUBLE)
      + (num_options - count(*) OVER worker_and_truth) * {smallest} * {unit} AS total
  FROM cells
  WINDOW worker_and_truth AS (PARTITION BY worker_key, true_option)
)
SELECT
  project_key,
  worker_key,
  option_index,
  true_option,
  units,
  total,
  CAST(rint(ln(units / total) * {unit}) AS BIGINT) AS log_rate_units,
  counted / CAST({unit} AS DOUBLE) * ln(units / total) AS expectation
FROM totals
