-- Grain: project_id, task_id. {annotations}: one row per project, task and worker.
-- votes: the options that were answered, with their number of votes, in binary order.
WITH votes AS (
  SELECT
    project_id,
    task_id,
    label,
    count(*) AS num_votes
  FROM {annotations}
  GROUP BY
    project_id,
    task_id,
    label
)
SELECT
  project_id,
  task_id,
  sum(num_votes) AS num_annotations,
  array_sort(collect_list(struct(label, num_votes))) AS votes
FROM votes
GROUP BY
  -- Numbers are sorted faster than the ids, if there are too many groups for a hash table.
  xxhash64(project_id, task_id),
  project_id,
  task_id
