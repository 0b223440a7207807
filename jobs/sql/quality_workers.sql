-- Grain: project_id, worker_id. {measures}: quality_worker_measures.sql; {shared_errors}:
-- quality_shared_errors.sql; {speeds}: quality_speed.sql.
-- confusion_trace: mean of the diagonal of the worker's confusion matrix. agreement_shrunk: with
-- {prior} answers more that agree as often as the project's do. The thresholds of suspicion were chosen
-- on drawn crowds whose spammers and copiers are known (tests/spark/test_quality_findings.py).
-- Sums are decimal, so that they do not depend on the order in which executors add them up.
WITH projects AS (
  SELECT
    project_id,
    sum(num_agreeing) / nullif(sum(num_labelled), 0) AS agreement,
    CAST(
      sum(CAST(num_labelled * (spam_score - spam_score_by_chance) AS DECIMAL(28, 12))) AS DOUBLE
    ) / nullif(sum(num_labelled) FILTER (WHERE spam_score IS NOT NULL), 0) AS spam_excess
  FROM {measures}
  GROUP BY
    project_id
),
scored AS (
  SELECT
    measured.*,
    measured.top.answer AS top_answer,
    -measured.top.most_first / measured.num_annotations AS top_answer_share,
    aggregate(
      filter(measured.confusion, cell -> cell.label = measured.top.answer),
      0L,
      (sum, cell) -> sum - cell.most_first
    ) / nullif(measured.num_labelled, 0) AS top_answer_label_share,
    (measured.num_agreeing + {prior} * projects.agreement) / (measured.num_labelled + {prior})
      AS agreement_shrunk,
    -- The project's workers are the measure: some projects are harder than others.
    greatest(0.4D * projects.spam_excess, 0.04D) AS spam_limit
  FROM {measures} AS measured
  JOIN projects
    ON measured.project_id = projects.project_id
)
SELECT
  scored.project_id,
  scored.worker_id,
  {reference} AS method,
  scored.num_annotations,
  scored.num_labelled,
  scored.num_agreeing / nullif(scored.num_labelled, 0) AS agreement_with_aggregate,
  scored.agreement_shrunk,
  scored.num_with_peers,
  scored.peer_units / {unit} / nullif(scored.num_with_peers, 0) AS agreement_with_peers,
  scored.num_gold,
  scored.num_correct / nullif(scored.num_gold, 0) AS accuracy,
  scored.num_labels,
  scored.spam_score,
  scored.spam_score_by_chance,
  scored.diagonal / nullif(scored.num_labels, 0) AS confusion_trace,
  transform(
    slice(scored.confusion, 1, {max_cells}),
    cell -> struct(cell.label, cell.answer, -cell.most_first AS num_annotations)
  ) AS confusion,
  scored.num_answers,
  greatest(ln(scored.num_annotations) - scored.count_logs / scored.num_annotations, 0D)
    AS answer_entropy,
  scored.top_answer,
  scored.top_answer_share,
  scored.top_answer_label_share,
  scored.num_rare_errors,
  coalesce(shared_errors.num_shared_errors, 0) AS num_shared_errors,
  shared_errors.num_common_errors,
  shared_errors.num_shared_errors / nullif(shared_errors.num_common_errors, 0)
    AS shared_error_share,
  shared_errors.chance_units / {unit} AS num_shared_by_chance,
  shared_errors.most_alike_worker_id,
  coalesce(speeds.num_intervals, 0) AS num_intervals,
  speeds.median_seconds,
  scored.num_annotations < {few} AS has_few_annotations,
  coalesce(
    scored.num_annotations >= {few}
    AND scored.top_answer_share >= 0.95D
    AND scored.top_answer_label_share < 0.8D,
    false
  ) AS is_constant_suspect,
  coalesce(
    scored.num_labelled >= {few}
    AND scored.spam_score - scored.spam_score_by_chance + 1.5D * scored.spam_deviation
      < scored.spam_limit,
    false
  ) AS is_spam_suspect,
  coalesce(
    shared_errors.num_shared_errors >= 0.6D * shared_errors.num_common_errors
    AND shared_errors.num_shared_errors - shared_errors.chance_units / {unit}
      >= 4 * sqrt(shared_errors.variance_units / {unit}),
    false
  ) AS is_copy_suspect
FROM scored
LEFT JOIN {shared_errors} AS shared_errors
  ON scored.project_id = shared_errors.project_id
  AND scored.worker_id = shared_errors.worker_id
LEFT JOIN {speeds} AS speeds
  ON scored.worker_hash = speeds.worker_hash
  AND xxhash64(scored.worker_id, scored.project_id) = speeds.other_hash
