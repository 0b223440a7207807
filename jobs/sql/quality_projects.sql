-- Grain: project_id. {labels}: quality_labels.sql; {agreement}: quality_agreement.sql; {pairs}:
-- quality_pair_kappa.sql; {methods}: quality_methods.sql; {previous}: quality_previous.sql.
-- class_balance: entropy of the label shares, as a share of that of num_options equal ones.
-- label_drift: half the sum of the absolute differences of label shares from those of the previous run.
SELECT
  labels.project_id,
  {reference} AS method,
  labels.num_tasks,
  labels.num_annotations,
  agreement.num_options,
  agreement.num_pairable_tasks,
  agreement.num_pairable_annotations,
  agreement.krippendorff_alpha,
  agreement.krippendorff_alpha_ordinal,
  agreement.fleiss_kappa,
  coalesce(pairs.num_worker_pairs, 0) AS num_worker_pairs,
  pairs.mean_cohen_kappa,
  labels.num_labelled,
  labels.coverage,
  labels.num_entropies,
  labels.mean_entropy,
  labels.label_shares,
  labels.label_entropy / nullif(ln(agreement.num_options), 0) AS class_balance,
  labels.num_method_pairs,
  labels.method_disagreement,
  previous.run_id AS previous_run_id,
  aggregate(
    array_union(map_keys(labels.label_shares), map_keys(previous.label_shares)),
    0D,
    (sum, label) -> sum + abs(
      coalesce(try_element_at(labels.label_shares, label), 0D)
      - coalesce(try_element_at(previous.label_shares, label), 0D)
    ) / 2,
    sum -> least(sum, 1D)
  ) AS label_drift,
  coalesce(methods.num_gold, 0) AS num_gold,
  methods.accuracy,
  methods.macro_f1,
  methods.expected_calibration_error
FROM {labels} AS labels
JOIN {agreement} AS agreement
  ON labels.project_id = agreement.project_id
LEFT JOIN {pairs} AS pairs
  ON labels.project_id = pairs.project_id
LEFT JOIN {methods} AS methods
  ON labels.project_id = methods.project_id
  AND methods.method = {reference}
LEFT JOIN {previous} AS previous
  ON labels.project_id = previous.project_id
