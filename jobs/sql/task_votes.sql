-- Grain: project_id, task_id. {annotations}: one row per project, task and worker, with component_id and
-- task_hash; {options}: project_id, label, num_votes. votes: the options that were answered, in the
-- order of majority voting: most votes; then the option that is answered most often in the whole
-- project; then the smallest label in binary order. So tasks of a project with the same counts have
-- equal votes.
WITH counted AS (
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
)
SELECT
  counted.task_hash,
  counted.project_id,
  counted.task_id,
  counted.component_id,
  sum(counted.num_votes) AS num_annotations,
  transform(
    array_sort(
      collect_list(
        struct(
          -counted.num_votes AS most_votes_first,
          -options.num_votes AS most_common_first,
          counted.label AS label
        )
      )
    ),
    vote -> struct(vote.label AS label, -vote.most_votes_first AS num_votes)
  ) AS votes
FROM counted
JOIN {options} AS options
  ON counted.project_id = options.project_id
  AND counted.label = options.label
GROUP BY
  counted.task_hash,
  counted.project_id,
  counted.task_id,
  counted.component_id
