-- Grain: project_id, of projects with such pairs. {shared}: quality_shared_tasks.sql. Mean of Cohen's
-- kappa (1960) over the num_worker_pairs pairs of busiest workers who share {min_shared} tasks or more.
-- If these pairs meet on tasks more than {max_meetings} times in a project, a part of its tasks that is
-- drawn by hash is taken.
WITH meetings AS (
  SELECT
    project_id,
    sum(size(answers) * (size(answers) - 1) / 2) AS num_meetings
  FROM {shared}
  GROUP BY
    project_id
),
counts AS (
  SELECT
    shared.project_id,
    one.worker_id AS worker_id,
    other.worker_id AS other_id,
    one.answer AS answer,
    other.answer AS other_answer,
    count(*) AS num_tasks
  FROM {shared} AS shared
  JOIN meetings
    ON shared.project_id = meetings.project_id
  LATERAL VIEW explode(shared.answers) ones AS one
  LATERAL VIEW explode(shared.answers) others AS other
  WHERE
    one.worker_id < other.worker_id
    AND pmod(xxhash64(shared.task_id), 1000000) < 1e6D * {max_meetings} / meetings.num_meetings
  GROUP BY
    shared.project_id,
    one.worker_id,
    other.worker_id,
    one.answer,
    other.answer
),
margins AS (
  SELECT
    project_id,
    worker_id,
    other_id,
    -- What each of the two answered, in one pass over the counts.
    inline(
      array(
        struct(
          answer,
          num_tasks AS num_of_one,
          0L AS num_of_other,
          IF(answer = other_answer, num_tasks, 0L) AS num_equal
        ),
        struct(
          other_answer AS answer,
          0L AS num_of_one,
          num_tasks AS num_of_other,
          0L AS num_equal
        )
      )
    )
  FROM counts
),
per_answer AS (
  SELECT
    project_id,
    worker_id,
    other_id,
    answer,
    sum(num_of_one) AS num_of_one,
    sum(num_of_other) AS num_of_other,
    sum(num_equal) AS num_equal
  FROM margins
  GROUP BY
    project_id,
    worker_id,
    other_id,
    answer
),
per_pair AS (
  SELECT
    project_id,
    sum(num_of_one) AS num_tasks,
    sum(num_equal) AS num_equal,
    sum(num_of_one * num_of_other) AS num_by_chance
  FROM per_answer
  GROUP BY
    project_id,
    worker_id,
    other_id
  HAVING sum(num_of_one) >= {min_shared}
)
SELECT
  project_id,
  -- Two who always give one and the same answer have no kappa.
  count_if(num_by_chance < num_tasks * num_tasks) AS num_worker_pairs,
  avg(
    (num_equal * num_tasks - num_by_chance)
    / nullif(CAST(num_tasks * num_tasks - num_by_chance AS DOUBLE), 0)
  ) AS mean_cohen_kappa
FROM per_pair
GROUP BY
  project_id
