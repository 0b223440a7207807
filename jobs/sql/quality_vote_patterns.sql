-- Grain: project_id, votes. {tasks}: quality_tasks.sql. Tasks with the same votes count alike in every
-- figure of agreement, and there are far fewer patterns of votes than tasks.
SELECT
  project_id,
  votes,
  num_annotations,
  count(*) AS num_tasks
FROM {tasks}
GROUP BY
  project_id,
  votes,
  num_annotations
