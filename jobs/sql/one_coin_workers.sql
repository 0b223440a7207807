-- Grain: worker_key. {posteriors}: by task_key; {projects}: num_options. accuracy: mean posterior of the
-- worker's own answers (Zhang et al. 2016, the one-coin model), which are summed in whole units, so that
-- their order does not matter. expectation: of the log likelihood of the worker's answers.
WITH own AS (
  SELECT
    answers.project_key,
    answers.worker_key,
    count(*) AS num_annotations,
    sum(CAST(rint(posteriors.posterior[answers.option_index] * {unit}) AS BIGINT))
      / CAST({unit} AS DOUBLE) AS num_right
  FROM {answers} AS answers
  JOIN {posteriors} AS posteriors
    ON answers.task_key = posteriors.task_key
  GROUP BY
    answers.project_key,
    answers.worker_key
),
logs AS (
  SELECT
    own.*,
    own.num_right / own.num_annotations AS accuracy,
    ln(least(greatest(own.num_right / own.num_annotations, {smallest}), 1 - {smallest})) AS log_right,
    ln(
      (1 - least(greatest(own.num_right / own.num_annotations, {smallest}), 1 - {smallest}))
      / greatest(projects.num_options - 1, 1)
    ) AS log_wrong
  FROM own
  JOIN {projects} AS projects
    ON own.project_key = projects.project_key
)
SELECT
  project_key,
  worker_key,
  accuracy,
  CAST(rint((log_right - log_wrong) * {unit}) AS BIGINT) AS log_odds_units,
  num_right * log_right + (num_annotations - num_right) * log_wrong AS expectation
FROM logs
