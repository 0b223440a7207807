-- Grain: project_id, worker_id, label (of the reference, null where it has none), answer.
-- {answers}: quality_answers.sql. peer_units: sum over the num_with_peers answers of the share of the
-- task's other answers that equal it, in units of 1 / {unit}, as the sum of doubles depends on their
-- order. num_rare_errors: answers other than the label that at most {max_alike} workers gave.
SELECT
  xxhash64(project_id, worker_id) AS worker_hash,
  project_id,
  worker_id,
  label,
  answer,
  count(*) AS num_annotations,
  count_if(num_task_annotations >= 2) AS num_with_peers,
  coalesce(
    sum(
      CAST(rint((num_same - 1) / nullif(num_task_annotations - 1, 0) * {unit}) AS BIGINT)
    ),
    0
  ) AS peer_units,
  count_if(answer <> label AND num_same <= {max_alike}) AS num_rare_errors,
  count(true_label) AS num_gold,
  count_if(answer = true_label) AS num_correct
FROM {answers}
GROUP BY
  project_id,
  worker_id,
  label,
  answer
