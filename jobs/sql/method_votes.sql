-- Grain: task_key. {answers}: one row per annotation, in keys (jobs/steps/methods_encoded.py).
-- votes: answered option -> number of its votes.
WITH votes AS (
  SELECT
    project_key,
    task_key,
    option_index,
    count(*) AS num_votes
  FROM {answers}
  GROUP BY
    project_key,
    task_key,
    option_index
)
SELECT
  project_key,
  task_key,
  map_from_entries(sort_array(collect_list(struct(option_index, num_votes)))) AS votes
FROM votes
GROUP BY
  project_key,
  task_key
