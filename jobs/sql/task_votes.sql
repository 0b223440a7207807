-- Grain: project_id, task_id. {annotations}: one row per project, task and worker, with component_id and
-- task_hash; {options}: project_id, label, num_votes. votes: the options that were answered, in the
-- order of majority voting: most votes; then the option that is answered most often in the whole
-- project; then the smallest label in binary order. So tasks of a project with the same counts have
-- equal votes. entropy: of the votes, in nats.
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
),
compared AS (
  SELECT
    counted.*,
    options.num_votes AS num_project_votes
  FROM counted
  JOIN {options} AS options
    ON counted.project_id = options.project_id
    AND counted.label = options.label
  -- Annotations come in this order: that is said for Spark, which sorts nothing here. With the label,
  -- as the sum of doubles depends on their order.
  SORT BY
    counted.task_hash,
    counted.project_id,
    counted.task_id,
    counted.component_id,
    counted.label
),
ranked AS (
  SELECT
    task_hash,
    project_id,
    task_id,
    component_id,
    sum(num_votes) AS num_annotations,
    sum(num_votes * ln(num_votes)) AS count_logs,
    sort_array(
      collect_list(
        struct(
          -num_votes AS most_votes_first,
          -num_project_votes AS most_common_first,
          label,
          num_votes
        )
      )
    ) AS ranking
  FROM compared
  GROUP BY
    task_hash,
    project_id,
    task_id,
    component_id
)
SELECT
  task_hash,
  project_id,
  task_id,
  component_id,
  num_annotations,
  arrays_zip(ranking.label, ranking.num_votes) AS votes,
  IF(size(ranking) > 1, greatest(ln(num_annotations) - count_logs / num_annotations, 0D), 0D)
    AS entropy
FROM ranked
