-- Grain: project_id, worker_id, of workers who share an error. {answers}: quality_answers.sql.
-- A shared error is an answer other than the label of the reference that two to {max_alike} workers
-- gave: what many choose is a likely mistake, what two alone choose, again and again, is copied.
-- The limit also bounds the work: an answer is in at most {max_alike} - 1 pairs.
-- most_alike_worker_id: with whom the worker shares most errors, num_shared_errors.
WITH alike AS (
  SELECT
    project_id,
    collect_list(worker_id) AS workers
  FROM {answers}
  WHERE
    answer <> label
    AND num_same BETWEEN 2 AND {max_alike}
  GROUP BY
    task_hash,
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
ranked AS (
  SELECT
    project_id,
    worker_id,
    array_min(collect_list(struct(-num_shared_errors AS most_first, other_id))) AS first
  FROM pairs
  GROUP BY
    xxhash64(project_id, worker_id),
    project_id,
    worker_id
)
SELECT
  project_id,
  worker_id,
  first.other_id AS most_alike_worker_id,
  -first.most_first AS num_shared_errors
FROM ranked
