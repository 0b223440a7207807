-- Grain: project_id, task_id. {votes}: task_votes.sql, whose order is the tie rule. probabilities: share
-- of the task's votes (of num_annotations), of the {max_probabilities} first options.
WITH listed AS (
  SELECT
    *,
    slice(votes, 1, {max_probabilities}) AS first
  FROM {votes}
)
SELECT
  project_id,
  task_id,
  'majority_vote' AS method,
  votes[0].label AS label,
  votes[0].num_votes / num_annotations AS probability,
  -- Most tasks have one option or two, and functions of lambdas take long.
  CASE size(first)
    WHEN 1 THEN map(first[0].label, first[0].num_votes / num_annotations)
    WHEN 2
      THEN
        map(
          first[0].label, first[0].num_votes / num_annotations,
          first[1].label, first[1].num_votes / num_annotations
        )
    ELSE
      map_from_entries(
        transform(first, vote -> struct(vote.label, vote.num_votes / num_annotations))
      )
  END AS probabilities,
  get(votes, 1).label AS runner_up_label,
  (votes[0].num_votes - coalesce(get(votes, 1).num_votes, 0)) / num_annotations AS margin,
  entropy,
  num_annotations,
  votes[0].num_votes / num_annotations AS agreement,
  coalesce(votes[0].num_votes = get(votes, 1).num_votes, false) AS is_tie,
  CAST(NULL AS DOUBLE) AS difficulty,
  component_id
FROM listed
