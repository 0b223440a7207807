-- Grain: project_id, task_id. {annotations} carries component_id and task_hash; {options}: project_id,
-- label, num_votes.
-- Tie rule: most votes; then the option that is answered most often in the whole project; then the
-- smallest label in binary order. probabilities: share of the task's votes (of num_annotations).
WITH votes AS (
  SELECT
    task_hash,
    project_id,
    task_id,
    component_id,
    label,
    count(*) AS num_votes
  FROM {annotations}
  GROUP BY
    task_hash,
    project_id,
    task_id,
    component_id,
    label
),
rankings AS (
  SELECT
    votes.project_id,
    votes.task_id,
    votes.component_id,
    sum(votes.num_votes) AS num_annotations,
    array_sort(
      collect_list(
        struct(
          -votes.num_votes AS most_votes_first,
          -options.num_votes AS most_common_first,
          votes.label AS label,
          votes.num_votes AS num_votes
        )
      )
    ) AS ranking
  FROM votes
  JOIN {options} AS options
    ON votes.project_id = options.project_id
    AND votes.label = options.label
  GROUP BY
    votes.task_hash,
    votes.project_id,
    votes.task_id,
    votes.component_id
)
SELECT
  project_id,
  task_id,
  'majority_vote' AS method,
  ranking[0].label AS label,
  ranking[0].num_votes / num_annotations AS probability,
  map_from_entries(
    transform(ranking, r -> struct(r.label, r.num_votes / num_annotations))
  ) AS probabilities,
  get(ranking, 1).label AS runner_up_label,
  (ranking[0].num_votes - coalesce(get(ranking, 1).num_votes, 0)) / num_annotations AS margin,
  aggregate(
    ranking,
    0D,
    (sum, r) -> sum - r.num_votes / num_annotations * ln(r.num_votes / num_annotations)
  ) AS entropy,
  num_annotations,
  ranking[0].num_votes / num_annotations AS agreement,
  coalesce(ranking[0].num_votes = get(ranking, 1).num_votes, false) AS is_tie,
  CAST(NULL AS DOUBLE) AS difficulty,
  component_id
FROM rankings
