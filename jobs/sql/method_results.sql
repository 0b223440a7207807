-- Grain: task_key. {shares}: project_key, task_key, shares (option -> probability; what is missing
-- has none) and abstains. label_option: the most probable option, the smallest one where several are
-- within {tie} of each other; null where the method abstains.
WITH best AS (
  SELECT
    *,
    array_max(map_values(shares)) AS most
  FROM {shares}
)
SELECT
  project_key,
  task_key,
  map_filter(shares, (option_index, share) -> share >= {tie}) AS shares,
  CASE
    WHEN NOT abstains
      THEN array_min(map_keys(map_filter(shares, (option_index, share) -> share >= most - {tie})))
  END AS label_option
FROM best
