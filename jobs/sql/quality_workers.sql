-- Grain: project_id, worker_id. {confusions}: quality_confusions.sql; {shared_errors}:
-- quality_shared_errors.sql; {speeds}: quality_speed.sql. Workers are sorted by worker_hash, as ids are
-- slow to compare.
-- The confusion matrix has a row per label of the reference among the worker's tasks (num_labels),
-- with the shares of the worker's answers. confusion_trace: mean of its diagonal. spam_score: distance
-- of the matrix from one whose rows are all equal, as those of a worker who does not look at the
-- task: mean over pairs of rows of half the squared distance (Raykar and Yu 2012, "Eliminating
-- Spammers and Ranking Annotators for Crowdsourced Labeling Tasks", the score of categorical labels).
-- Rows of few answers differ by chance: spam_score_by_chance is the mean score of a worker who draws
-- each answer from the worker's own shares s of answers, (1 - sum s^2) x mean over rows of 1 / answers,
-- and spam_deviation is its deviation, if all s were equal. agreement_shrunk: with {prior} answers more
-- that agree as often as the project's do. The thresholds of suspicion were chosen on drawn crowds whose
-- spammers and copiers are known (tests/spark/test_quality_findings.py).
-- Sums are decimal, so that they do not depend on the order in which executors add them up.
WITH cells AS (
  SELECT
    *,
    IF(
      label IS NOT NULL,
      num_annotations
        / sum(num_annotations) OVER (PARTITION BY worker_hash, project_id, worker_id, label),
      NULL
    ) AS share,
    1 / sum(num_annotations) OVER (PARTITION BY worker_hash, project_id, worker_id, label) AS part_of_row
  FROM {confusions}
),
answers AS (
  SELECT
    worker_hash,
    project_id,
    worker_id,
    answer,
    sum(num_annotations) AS num_annotations,
    sum(IF(label IS NOT NULL, num_annotations, 0)) AS num_labelled,
    sum(IF(label = answer, num_annotations, 0)) AS num_agreeing,
    sum(num_with_peers) AS num_with_peers,
    sum(peer_units) AS peer_units,
    sum(num_rare_errors) AS num_rare_errors,
    sum(num_gold) AS num_gold,
    sum(num_correct) AS num_correct,
    CAST(sum(CAST(share AS DECIMAL(18, 15))) AS DOUBLE) AS shares,
    sum(CAST(share * share AS DECIMAL(18, 15))) AS squares,
    sum(CAST(IF(label = answer, share, 0D) AS DECIMAL(18, 15))) AS diagonal,
    sum(CAST(share * part_of_row AS DECIMAL(18, 15))) AS parts_of_rows
  FROM cells
  GROUP BY
    worker_hash,
    project_id,
    worker_id,
    answer
),
matrices AS (
  SELECT
    worker_hash,
    project_id,
    worker_id,
    size(collect_set(label)) AS num_labels,
    array_sort(
      collect_list(struct(-num_annotations AS most_first, label, answer))
    ) AS confusion
  FROM {confusions}
  GROUP BY
    worker_hash,
    project_id,
    worker_id
),
workers AS (
  SELECT
    worker_hash,
    project_id,
    worker_id,
    sum(num_annotations) AS num_annotations,
    sum(num_labelled) AS num_labelled,
    sum(num_agreeing) AS num_agreeing,
    sum(num_with_peers) AS num_with_peers,
    sum(peer_units) AS peer_units,
    sum(num_rare_errors) AS num_rare_errors,
    sum(num_gold) AS num_gold,
    sum(num_correct) AS num_correct,
    count(*) AS num_answers,
    array_min(collect_list(struct(-num_annotations AS most_first, answer))) AS top,
    CAST(
      sum(CAST(num_annotations * ln(num_annotations) AS DECIMAL(28, 12))) AS DOUBLE
    ) AS count_logs,
    CAST(sum(squares) AS DOUBLE) AS squares,
    CAST(sum(CAST(shares * shares AS DECIMAL(28, 12))) AS DOUBLE) AS column_squares,
    CAST(sum(diagonal) AS DOUBLE) AS diagonal,
    CAST(sum(parts_of_rows) AS DOUBLE) AS parts_of_rows,
    1 - sum(num_labelled * num_labelled) / nullif(sum(num_labelled) * sum(num_labelled), 0)
      AS dispersion
  FROM answers
  GROUP BY
    worker_hash,
    project_id,
    worker_id
),
measured AS (
  SELECT
    workers.*,
    matrices.num_labels,
    matrices.confusion,
    IF(
      matrices.num_labels >= 2, dispersion * parts_of_rows / matrices.num_labels, NULL
    ) AS spam_score_by_chance,
    IF(
      matrices.num_labels >= 2,
      parts_of_rows / matrices.num_labels
        * sqrt(2 * dispersion * (1 - dispersion) / matrices.num_labels),
      NULL
    ) AS spam_deviation,
    IF(
      matrices.num_labels >= 2,
      greatest(
        (matrices.num_labels * workers.squares - workers.column_squares)
          / (matrices.num_labels * (matrices.num_labels - 1)),
        0D
      ),
      NULL
    ) AS spam_score
  FROM workers
  JOIN matrices
    ON workers.worker_hash = matrices.worker_hash
    AND workers.project_id = matrices.project_id
    AND workers.worker_id = matrices.worker_id
),
projects AS (
  SELECT
    project_id,
    sum(num_agreeing) / nullif(sum(num_labelled), 0) AS agreement,
    CAST(
      sum(CAST(num_labelled * (spam_score - spam_score_by_chance) AS DECIMAL(28, 12))) AS DOUBLE
    ) / nullif(sum(num_labelled) FILTER (WHERE spam_score IS NOT NULL), 0) AS spam_excess
  FROM measured
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
  FROM measured
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
  ON scored.project_id = speeds.project_id
  AND scored.worker_id = speeds.worker_id
