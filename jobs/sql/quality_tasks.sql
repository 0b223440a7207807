-- Grain: project_id, task_id, of all tasks. {votes}: task_votes.sql; {labels}: aggregated_labels of
-- all methods, from arrange_by_task; {gold}: gold_labels. label, probability and entropy are those of
-- {reference}, null where it abstains; num_methods: methods with a label; dissenting_methods: those with
-- another label than the reference; support: mean probability that the methods give to its label (of
-- num_methods): of a method without probabilities 1 or 0, of one that ranks the label below its second
-- place 0. Where all agree it is summed in units of 1 / {unit}. vote_entropy: that of the votes.
WITH named AS (
  SELECT
    task_hash,
    project_id,
    task_id,
    -- Sorted, so that sums do not depend on the order in which rows arrive.
    sort_array(
      collect_list(struct(method, label, probability, runner_up_label, margin, entropy))
    ) AS methods,
    sum(CAST(rint(coalesce(probability, 1D) * {unit}) AS BIGINT)) AS probability_units
  FROM {labels}
  GROUP BY
    task_hash,
    project_id,
    task_id
),
compared AS (
  SELECT
    task_hash,
    project_id,
    task_id,
    methods,
    probability_units,
    get(methods, CAST(array_position(methods.method, {reference}) - 1 AS INT)) AS chosen,
    -- Of nearly all tasks; functions of lambdas take long.
    array_min(methods.label) = array_max(methods.label) AS is_unanimous
  FROM named
)
SELECT
  votes.task_hash,
  votes.project_id,
  votes.task_id,
  votes.num_annotations,
  votes.votes,
  votes.entropy AS vote_entropy,
  compared.chosen.label AS label,
  compared.chosen.probability AS probability,
  compared.chosen.entropy AS entropy,
  gold.true_label,
  coalesce(size(compared.methods), 0) AS num_methods,
  CASE
    WHEN NOT compared.is_unanimous
      THEN
        aggregate(
          compared.methods.label,
          0,
          (pairs, one) -> pairs + size(filter(compared.methods.label, other -> other <> one)),
          pairs -> CAST(pairs / 2 AS INT)
        )
    ELSE 0
  END AS num_differing_pairs,
  CASE
    WHEN NOT compared.is_unanimous
      THEN filter(compared.methods, m -> m.label <> compared.chosen.label).method
    WHEN compared.is_unanimous THEN CAST(array() AS ARRAY<STRING>)
  END AS dissenting_methods,
  CASE
    WHEN compared.is_unanimous AND compared.chosen.label IS NOT NULL
      THEN compared.probability_units / {unit} / size(compared.methods)
    ELSE
      aggregate(
        compared.methods,
        0D,
        (sum, m) -> sum + CASE
          WHEN m.label = compared.chosen.label THEN coalesce(m.probability, 1D)
          WHEN m.runner_up_label = compared.chosen.label THEN coalesce(m.probability - m.margin, 0D)
          WHEN compared.chosen.label IS NOT NULL THEN 0D
        END,
        sum -> sum / size(compared.methods)
      )
  END AS support
FROM {votes} AS votes
LEFT JOIN compared
  ON votes.task_hash = compared.task_hash
  AND votes.project_id = compared.project_id
  AND votes.task_id = compared.task_id
LEFT JOIN {gold} AS gold
  ON votes.task_hash = xxhash64(gold.project_id, gold.task_id)
  AND votes.project_id = gold.project_id
  AND votes.task_id = gold.task_id
