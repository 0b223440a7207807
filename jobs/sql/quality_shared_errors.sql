-- Grain: project_id, worker_id, of workers who share an error. {answers}: quality_answers.sql.
-- A shared error is an answer other than the label of the reference that two to {max_alike} workers
-- gave: what many choose is a likely mistake, what two alone choose, again and again, is copied.
-- The limit also bounds the work: an answer is in at most {max_alike} - 1 pairs. For workers with
-- {fewest} shared errors: num_common_errors, errors of at most {max_alike} workers on tasks that the most
-- alike worker answered too; of these chance_units / {unit} would be shared, and variance_units / {unit}
-- is the variance, if another one of the task's workers had been there in that worker's place.
WITH alike AS (
  SELECT
    project_id,
    task_id,
    answer,
    collect_list(worker_id) AS workers
  FROM {answers}
  WHERE
    answer <> label
    AND num_same BETWEEN 2 AND {max_alike}
  GROUP BY
    project_id,
    task_id,
    answer
),
pairs AS (
  SELECT
    project_id,
    worker_id,
    other_id,
    count(*) AS num_shared_errors
  FROM alike
  LATERAL VIEW explode(workers) ones AS worker_id
  LATERAL VIEW explode(workers) others AS other_id
  WHERE worker_id <> other_id
  GROUP BY
    project_id,
    worker_id,
    other_id
),
most AS (
  SELECT
    project_id,
    worker_id,
    min(struct(-num_shared_errors AS most_first, other_id)) AS first
  FROM pairs
  GROUP BY
    project_id,
    worker_id
),
errors AS (
  SELECT
    answers.project_id,
    answers.task_id,
    answers.worker_id,
    most.first.other_id AS other_id,
    (answers.num_same - 1) / nullif(answers.num_task_annotations - 1, 0) AS chance
  FROM {answers} AS answers
  JOIN most
    ON answers.project_id = most.project_id
    AND answers.worker_id = most.worker_id
  WHERE
    answers.answer <> answers.label
    AND answers.num_same <= {max_alike}
    AND -most.first.most_first >= {fewest}
),
common AS (
  SELECT
    errors.project_id,
    errors.worker_id,
    count(*) AS num_common_errors,
    sum(CAST(round(errors.chance * {unit}) AS BIGINT)) AS chance_units,
    sum(CAST(round(errors.chance * (1 - errors.chance) * {unit}) AS BIGINT)) AS variance_units
  FROM errors
  JOIN {answers} AS others
    ON errors.project_id = others.project_id
    AND errors.task_id = others.task_id
    AND errors.other_id = others.worker_id
  GROUP BY
    errors.project_id,
    errors.worker_id
)
SELECT
  most.project_id,
  most.worker_id,
  most.first.other_id AS most_alike_worker_id,
  -most.first.most_first AS num_shared_errors,
  common.num_common_errors,
  common.chance_units,
  common.variance_units
FROM most
LEFT JOIN common
  ON most.project_id = common.project_id
  AND most.worker_id = common.worker_id
