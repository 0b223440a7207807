-- Grain: project_id, method, percent (whole percents of the label's probability, rounded down, null
-- where a method has none). {labels}: aggregated_labels. probability_units: sum of probabilities in
-- units of 1 / {unit}, as the sum of doubles depends on their order.
SELECT
  project_id,
  method,
  -- 1e-9: a probability of 0.57 is 56.99999999999999 percent.
  floor(probability * 100 + 1e-9D) AS percent,
  count(*) AS num_tasks,
  sum(CAST(rint(probability * {unit}) AS BIGINT)) AS probability_units
FROM {labels}
GROUP BY
  project_id,
  method,
  floor(probability * 100 + 1e-9D)
