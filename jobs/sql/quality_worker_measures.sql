-- Grain: project_id, worker_id. {confusions}: quality_confusions.sql. Workers are sorted by worker_hash,
-- as ids are slow to compare.
-- confusion: the cells of the worker's matrix, with a row per label of the reference among the
-- worker's tasks (num_labels), which holds the shares of the worker's answers. diagonal: sum of those
-- that agree. spam_score: distance of the matrix from one whose rows are all equal, as those of a
-- worker who does not look at the task: mean over pairs of rows of half the squared distance (Raykar
-- and Yu 2012, "Eliminating Spammers and Ranking Annotators for Crowdsourced Labeling Tasks", the
-- score of categorical labels). Rows of few answers differ by chance: spam_score_by_chance is the
-- mean score of a worker who draws each answer from the worker's own shares s of answers,
-- (1 - sum s^2) x mean over rows of 1 / answers, and spam_deviation is its deviation, if all s were
-- equal.
-- Sums are of whole multiples of 1 / {unit}, or decimal, so that they do not depend on the order
-- in which executors add them up.
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
    sum(CAST(rint(share * {unit}) AS BIGINT)) AS share_units,
    sum(CAST(rint(share * share * {unit}) AS BIGINT)) AS square_units,
    sum(CAST(IF(label = answer, rint(share * {unit}), 0) AS BIGINT)) AS diagonal_units,
    sum(CAST(rint(share * part_of_row * {unit}) AS BIGINT)) AS parts_units
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
    sort_array(
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
    sum(square_units) / {unit} AS squares,
    CAST(
      sum(CAST(power(share_units / {unit}, 2) AS DECIMAL(28, 12))) AS DOUBLE
    ) AS column_squares,
    sum(diagonal_units) / {unit} AS diagonal,
    sum(parts_units) / {unit} AS parts_of_rows,
    1 - sum(num_labelled * num_labelled) / nullif(sum(num_labelled) * sum(num_labelled), 0)
      AS dispersion
  FROM answers
  GROUP BY
    worker_hash,
    project_id,
    worker_id
)
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
