-- Grain: task_key. {coins}: of one_coin_workers.sql; {fits}: class priors. scores: log prior plus, for
-- each answer that names the option, the log odds of the worker's accuracy against one wrong option;
-- what is left out is the same for every option. Logarithms are summed in whole units, so that their
-- order does not matter.
WITH sums AS (
  SELECT
    answers.project_key,
    answers.task_key,
    answers.option_index,
    any_value(answers.known_option) AS known_option,
    sum(coins.log_odds_units) AS units
  FROM {answers} AS answers
  JOIN {coins} AS coins
    ON answers.worker_key = coins.worker_key
  GROUP BY
    answers.project_key,
    answers.task_key,
    answers.option_index
),
tasks AS (
  SELECT
    project_key,
    task_key,
    any_value(known_option) AS known_option,
    map_from_entries(collect_list(struct(option_index, units))) AS units
  FROM sums
  GROUP BY
    project_key,
    task_key
)
SELECT
  tasks.project_key,
  tasks.task_key,
  tasks.known_option,
  transform(
    fits.prior,
    (share, o) -> ln(share) + coalesce(try_element_at(tasks.units, o), 0) / CAST({unit} AS DOUBLE)
  ) AS scores
FROM tasks
JOIN {fits} AS fits
  ON tasks.project_key = fits.project_key
