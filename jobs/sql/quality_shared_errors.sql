-- Grain: project_id, worker_id, of workers who share an error. {answers}: quality_answers.sql;
-- {most_alike}: quality_most_alike.sql; {suspected}: its rows with enough shared errors for suspicion.
-- Of these: num_common_errors, errors of at most {max_alike} workers on tasks that the most alike worker
-- answered too; chance_units / {unit} of them would be shared, and variance_units / {unit} is the
-- variance, if another one of the task's workers had been there in that worker's place.
WITH errors AS (
  SELECT
    answers.task_hash,
    answers.project_id,
    answers.task_id,
    answers.worker_id,
    suspected.most_alike_worker_id,
    (answers.num_same - 1) / nullif(answers.num_task_annotations - 1, 0) AS chance
  FROM {answers} AS answers
  JOIN {suspected} AS suspected
    ON answers.project_id = suspected.project_id
    AND answers.worker_id = suspected.worker_id
  WHERE
    answers.answer <> answers.label
    AND answers.num_same <= {max_alike}
),
-- Few workers are the most alike of another: only their answers are moved to the errors.
others AS (
  SELECT
    answers.task_hash,
    answers.project_id,
    answers.task_id,
    answers.worker_id
  FROM {answers} AS answers
  LEFT SEMI JOIN {suspected} AS suspected
    ON answers.project_id = suspected.project_id
    AND answers.worker_id = suspected.most_alike_worker_id
),
common AS (
  SELECT
    errors.project_id,
    errors.worker_id,
    count(*) AS num_common_errors,
    sum(CAST(rint(errors.chance * {unit}) AS BIGINT)) AS chance_units,
    sum(CAST(rint(errors.chance * (1 - errors.chance) * {unit}) AS BIGINT)) AS variance_units
  FROM errors
  JOIN others
    ON errors.task_hash = others.task_hash
    AND errors.project_id = others.project_id
    AND errors.task_id = others.task_id
    AND errors.most_alike_worker_id = others.worker_id
  GROUP BY
    errors.project_id,
    errors.worker_id
)
SELECT
  alike.project_id,
  alike.worker_id,
  alike.most_alike_worker_id,
  alike.num_shared_errors,
  common.num_common_errors,
  common.chance_units,
  common.variance_units
FROM {most_alike} AS alike
LEFT JOIN common
  ON alike.project_id = common.project_id
  AND alike.worker_id = common.worker_id
