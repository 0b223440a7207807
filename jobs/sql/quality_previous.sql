-- Grain: project_id. {project_quality} and {runs}: the tables; only runs that SUCCEEDED count, and not
-- {run_id} itself, which may be running again. The newest run that measured the project.
SELECT
  measured.project_id,
  max_by(measured.run_id, runs.started_at) AS run_id,
  max_by(measured.label_shares, runs.started_at) AS label_shares
FROM {project_quality} AS measured
JOIN {runs} AS runs
  ON measured.run_id = runs.run_id
WHERE
  runs.status = 'SUCCEEDED'
  AND measured.run_id <> {run_id}
GROUP BY
  measured.project_id
