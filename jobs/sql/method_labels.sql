-- Grain: project_id, task_id. {results}: of method_results.sql; {tasks}: keys, ids and votes;
-- {options}: labels by project_key and option_index. A task without a label has no row.
-- Options that tie with the label rank by option_index, as everywhere; agreement is of all answers.
WITH candidates AS (
  SELECT
    project_key,
    task_key,
    label_option,
    array_max(map_values(shares)) AS most,
    explode(shares) AS (option_index, share)
  FROM {results}
  WHERE label_option IS NOT NULL
),
rankings AS (
  SELECT
    candidates.task_key,
    min(candidates.label_option) AS label_option,
    sort_array(
      collect_list(
        struct(
          -CASE WHEN share >= most - {tie} THEN most ELSE share END AS most_probable_first,
          candidates.option_index AS option_index,
          options.label AS label
        )
      )
    ) AS ranking
  FROM candidates
  JOIN {options} AS options
    ON candidates.project_key = options.project_key
    AND candidates.option_index = options.option_index
  GROUP BY
    candidates.task_key
),
ranked AS (
  SELECT
    *,
    least(-ranking[0].most_probable_first, 1D) AS probability,
    get(ranking, 1).label AS runner_up_label,
    ranking[0].most_probable_first AS first,
    get(ranking, 1).most_probable_first AS second
  FROM rankings
)
SELECT
  tasks.project_id,
  tasks.task_id,
  {method} AS method,
  ranked.ranking[0].label AS label,
  ranked.probability,
  map_from_entries(
    transform(
      slice(ranked.ranking, 1, {max_probabilities}), r -> struct(r.label, -r.most_probable_first)
    )
  ) AS probabilities,
  ranked.runner_up_label,
  least(coalesce(ranked.second, 0D) - ranked.first, 1D) AS margin,
  aggregate(
    ranked.ranking,
    0D,
    (sum, r) -> sum + r.most_probable_first * ln(-r.most_probable_first),
    sum -> greatest(sum, 0D)
  ) AS entropy,
  tasks.num_annotations,
  coalesce(try_element_at(tasks.votes, ranked.label_option), 0) / tasks.num_annotations
    AS agreement,
  coalesce(ranked.second - ranked.first < {tie}, false) AS is_tie,
  CAST(NULL AS DOUBLE) AS difficulty,
  tasks.component_id
FROM ranked
JOIN {tasks} AS tasks
  ON ranked.task_key = tasks.task_key
