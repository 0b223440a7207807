-- Grain: task_key. {answers}: one row per annotation that counts, with its weight.
-- shares: option -> share of the task's weighted votes, or of its plain ones where all weights are 0.
-- winners: the options with the most votes, ascending; all of the project's where no vote counts.
-- A negative weight counts, as a positive one, for every option but the worker's own. Weights are
-- summed in whole units, so that their order does not matter.
WITH votes AS (
  SELECT
    answers.project_key,
    answers.task_key,
    answers.option_index,
    sum(CAST(rint(answers.weight * {unit}) AS BIGINT)) AS units,
    sum(CAST(rint(least(answers.weight, 0D) * {unit}) AS BIGINT)) AS units_against,
    count(*) AS num_votes
  FROM {answers} AS answers
  GROUP BY
    answers.project_key,
    answers.task_key,
    answers.option_index
),
tasks AS (
  SELECT
    project_key,
    task_key,
    -sum(units_against) AS for_all,
    sum(num_votes) AS num_annotations,
    sort_array(collect_list(struct(option_index, units, num_votes))) AS answered
  FROM votes
  GROUP BY
    project_key,
    task_key
),
counted AS (
  SELECT
    tasks.*,
    projects.num_options,
    concat(
      transform(
        answered,
        a -> struct(a.option_index AS option_index, greatest(a.units + for_all, 0) AS units)
      ),
      CASE
        WHEN for_all > 0
          THEN
            transform(
              array_except(
                sequence(0, projects.num_options - 1), transform(answered, a -> a.option_index)
              ),
              o -> struct(o AS option_index, for_all AS units)
            )
        ELSE array()
      END
    ) AS counts
  FROM tasks
  JOIN {projects} AS projects
    ON tasks.project_key = projects.project_key
),
totals AS (
  SELECT
    *,
    array_max(transform(counts, c -> c.units)) AS most,
    aggregate(counts, 0L, (sum, c) -> sum + c.units) AS total
  FROM counted
)
SELECT
  project_key,
  task_key,
  CASE
    WHEN most > 0
      THEN map_from_entries(transform(counts, c -> struct(c.option_index, c.units / total)))
    ELSE map_from_entries(transform(answered, a -> struct(a.option_index, a.num_votes / num_annotations)))
  END AS shares,
  CASE
    WHEN most > 0
      THEN
        sort_array(
          transform(filter(counts, c -> c.units >= most - most * {tie}), c -> c.option_index)
        )
    ELSE sequence(0, num_options - 1)
  END AS winners
FROM totals
