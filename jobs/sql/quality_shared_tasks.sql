-- Grain: project_id, task_id, of tasks that two of the busiest workers answered. {answers}:
-- quality_answers.sql; {busiest}: quality_busiest_workers.sql. answers: those of the busiest workers.
SELECT
  answers.project_id,
  answers.task_id,
  collect_list(struct(answers.worker_id, answers.answer)) AS answers
FROM {answers} AS answers
JOIN {busiest} AS busiest
  ON answers.project_id = busiest.project_id
  AND answers.worker_id = busiest.worker_id
WHERE answers.num_task_annotations >= 2
GROUP BY
  answers.task_hash,
  answers.project_id,
  answers.task_id
HAVING count(*) >= 2
