-- Grain: project_id. {tasks}: quality_tasks.sql. label_shares: label of the reference -> share of the
-- num_labelled tasks, at most the {max_labels} most frequent; label_entropy: of all shares, in nats.
WITH per_label AS (
  SELECT
    project_id,
    label,
    count(*) AS num_tasks,
    sum(num_annotations) AS num_annotations,
    count(entropy) AS num_entropies,
    sum(entropy) AS entropy,
    sum(num_methods * (num_methods - 1) / 2) AS num_method_pairs,
    sum(num_differing_pairs) AS num_differing_pairs
  FROM {tasks}
  GROUP BY
    project_id,
    label
),
projects AS (
  SELECT
    project_id,
    sum(num_tasks) AS num_tasks,
    sum(num_annotations) AS num_annotations,
    coalesce(sum(num_tasks) FILTER (WHERE label IS NOT NULL), 0) AS num_labelled,
    sum(num_entropies) AS num_entropies,
    sum(entropy) AS entropy,
    CAST(sum(num_method_pairs) AS BIGINT) AS num_method_pairs,
    sum(num_differing_pairs) AS num_differing_pairs,
    sum(num_tasks * ln(num_tasks)) FILTER (WHERE label IS NOT NULL) AS count_logs,
    sort_array(
      collect_list(struct(-num_tasks AS most_first, label)) FILTER (WHERE label IS NOT NULL)
    ) AS labels
  FROM per_label
  GROUP BY
    project_id
)
SELECT
  project_id,
  num_tasks,
  num_annotations,
  num_labelled,
  num_labelled / num_tasks AS coverage,
  num_entropies,
  entropy / nullif(num_entropies, 0) AS mean_entropy,
  num_method_pairs,
  num_differing_pairs / nullif(num_method_pairs, 0) AS method_disagreement,
  map_from_entries(
    transform(
      slice(labels, 1, {max_labels}), one -> struct(one.label, -one.most_first / num_labelled)
    )
  ) AS label_shares,
  IF(num_labelled > 0, greatest(ln(num_labelled) - count_logs / num_labelled, 0D), NULL)
    AS label_entropy
FROM projects
