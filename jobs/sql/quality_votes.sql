-- Grain: project_id, task_id. {annotations}: one row per project, task and worker, with task_hash.
-- votes: the options that were answered, with their number of votes, in binary order.
WITH votes AS (
  SELECT
    task_hash,
    project_id,
    task_id,
    label,
    count(*) AS num_votes
  FROM {annotations}
  GROUP BY
    task_hash,
    project_id,
    task_id,
    label
)
SELECT
  task_hash,
  project_id,
  task_id,
  sum(num_votes) AS num_annotations,
  array_sort(collect_list(struct(label, num_votes))) AS votes
FROM votes
GROUP BY
  task_hash,
  project_id,
  task_id
