-- Grain: worker_key. {results}: task_key and label_option, null without consensus. score: share of the
-- worker's answers to tasks with a label that equal it; that of all the project's workers together for
-- those who have none, 1 / num_options if nobody has.
WITH per_worker AS (
  SELECT
    answers.project_key,
    answers.worker_key,
    count(results.label_option) AS num_answers,
    count_if(answers.option_index = results.label_option) AS num_equal
  FROM {answers} AS answers
  JOIN {results} AS results
    ON answers.task_key = results.task_key
  GROUP BY
    answers.project_key,
    answers.worker_key
),
per_project AS (
  SELECT
    project_key,
    sum(num_equal) / nullif(sum(num_answers), 0) AS share
  FROM per_worker
  GROUP BY
    project_key
)
SELECT
  per_worker.worker_key,
  coalesce(num_equal / nullif(num_answers, 0), share, 1 / num_options) AS score
FROM per_worker
JOIN per_project
  ON per_worker.project_key = per_project.project_key
JOIN {projects} AS projects
  ON per_worker.project_key = projects.project_key
