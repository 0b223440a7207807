-- Grain: project_id, task_id, of tasks with a finding. {tasks}: quality_tasks.sql.
-- is_ambiguous: of three answers or more, the two most frequent options are at most a fifth of the
-- answers apart. is_likely_mislabelled: the methods give the label less than a half, on average.
WITH judged AS (
  SELECT
    *,
    -- The most frequent come first.
    (votes[0].num_votes - coalesce(get(votes, 1).num_votes, 0)) / num_annotations AS vote_margin
  FROM {tasks}
),
found AS (
  SELECT
    *,
    num_annotations >= 3 AND vote_margin <= 0.2D AS is_ambiguous,
    coalesce(support < 0.5D, false) AS is_likely_mislabelled
  FROM judged
)
SELECT
  project_id,
  task_id,
  {reference} AS method,
  label,
  num_annotations,
  vote_entropy,
  vote_margin,
  num_methods,
  support,
  num_differing_pairs / nullif(num_methods * (num_methods - 1) / 2, 0) AS method_disagreement,
  dissenting_methods,
  is_ambiguous,
  is_likely_mislabelled
FROM found
WHERE
  is_ambiguous
  OR is_likely_mislabelled
  OR num_differing_pairs > 0
