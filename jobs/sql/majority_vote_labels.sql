-- Grain: project_id, task_id. {votes}: task_votes.sql, whose order is the tie rule. probabilities: share
-- of the task's votes (of num_annotations).
SELECT
  project_id,
  task_id,
  'majority_vote' AS method,
  votes[0].label AS label,
  votes[0].num_votes / num_annotations AS probability,
  map_from_entries(
    transform(votes, vote -> struct(vote.label, vote.num_votes / num_annotations))
  ) AS probabilities,
  get(votes, 1).label AS runner_up_label,
  (votes[0].num_votes - coalesce(get(votes, 1).num_votes, 0)) / num_annotations AS margin,
  aggregate(
    votes,
    0D,
    (sum, vote) -> sum
      - vote.num_votes / num_annotations * ln(vote.num_votes / num_annotations)
  ) AS entropy,
  num_annotations,
  votes[0].num_votes / num_annotations AS agreement,
  coalesce(votes[0].num_votes = get(votes, 1).num_votes, false) AS is_tie,
  CAST(NULL AS DOUBLE) AS difficulty,
  component_id
FROM {votes}
