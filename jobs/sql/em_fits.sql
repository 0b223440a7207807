-- Grain: project_key, of the projects of {posteriors}. {parts}: expectation of the workers' log
-- likelihood, several rows per project; {fits}: the last iteration's. prior: mean posterior per option,
-- at least {smallest}. bound: evidence lower bound per annotation. Posteriors are summed in whole units,
-- so that their order does not matter to the priors.
WITH masses AS (
  SELECT
    project_key,
    option_index,
    sum(CAST(rint(share * {unit}) AS BIGINT)) AS units,
    -sum(share * ln(share)) AS entropy
  FROM (
    SELECT
      project_key,
      posexplode(posterior) AS (option_index, share)
    FROM {posteriors}
  )
  WHERE share > 0
  GROUP BY
    project_key,
    option_index
),
per_project AS (
  SELECT
    project_key,
    sum(entropy) AS entropy,
    map_from_entries(collect_list(struct(option_index, units))) AS units
  FROM masses
  GROUP BY
    project_key
),
expectations AS (
  SELECT
    project_key,
    sum(expectation) AS expectation
  FROM {parts}
  GROUP BY
    project_key
),
priors AS (
  SELECT
    fits.project_key,
    fits.num_tasks,
    fits.num_annotations,
    fits.num_options,
    fits.iterations + 1 AS iterations,
    fits.bound AS last_bound,
    per_project.entropy + expectations.expectation AS bound_without_prior,
    transform(
      sequence(0, fits.num_options - 1),
      o -> greatest(
        coalesce(try_element_at(per_project.units, o), 0) / CAST({unit} AS DOUBLE) / fits.num_tasks,
        {smallest}
      )
    ) AS prior,
    per_project.units
  FROM {fits} AS fits
  JOIN per_project
    ON fits.project_key = per_project.project_key
  JOIN expectations
    ON fits.project_key = expectations.project_key
),
bounds AS (
  SELECT
    *,
    (
      bound_without_prior + aggregate(
        map_entries(units),
        0D,
        (sum, e) -> sum + e.value / CAST({unit} AS DOUBLE) * ln(prior[e.key])
      )
    ) / num_annotations AS bound
  FROM priors
)
SELECT
  project_key,
  num_tasks,
  num_annotations,
  num_options,
  prior,
  bound,
  iterations,
  coalesce(bound - last_bound < {tolerance}, false) AS converged
FROM bounds
