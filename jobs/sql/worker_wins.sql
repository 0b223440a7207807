-- Grain: worker_key. {winners}: task_key and winners of weighted_votes.sql; tasks that are not in it do
-- not count. num_wins: of num_annotations; a win is shared by the options that tie for it, and added up
-- in whole units, so that the order does not matter.
SELECT
  answers.project_key,
  answers.worker_key,
  count(*) AS num_annotations,
  sum(
    CASE
      WHEN array_contains(winners.winners, answers.option_index)
        THEN CAST({unit} AS BIGINT) DIV size(winners.winners)
      ELSE 0
    END
  ) / CAST({unit} AS DOUBLE) AS num_wins
FROM {answers} AS answers
JOIN {winners} AS winners
  ON answers.task_key = winners.task_key
GROUP BY
  answers.project_key,
  answers.worker_key
