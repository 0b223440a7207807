-- Grain: worker_key. {tasks}: votes by task_key. score: mean share that the worker's own answers have
-- of their tasks' answers; shares are summed in whole units, so that their order does not matter.
SELECT
  answers.worker_key,
  sum(
    CAST(rint(tasks.votes[answers.option_index] / tasks.num_annotations * {unit}) AS BIGINT)
  ) / CAST({unit} AS DOUBLE) / count(*) AS score
FROM {answers} AS answers
JOIN {tasks} AS tasks
  ON answers.task_key = tasks.task_key
GROUP BY
  answers.worker_key
