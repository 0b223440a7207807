-- Grain: project_id. {patterns}: quality_vote_patterns.sql. Only tasks with two answers or more count
-- (num_pairable_tasks, num_pairable_annotations); a coefficient is null where all answers are equal.
-- Krippendorff's alpha = 1 - observed / expected disagreement of pairs of answers (Krippendorff 2011,
-- "Computing Krippendorff's Alpha-Reliability"). Its ordinal distance of two options is the
-- difference of their mean ranks among all answers, so that sums of ranks and of their squares do,
-- and no pair is formed. It is null unless every option is a number, which gives the order.
-- Fleiss' kappa: the mean over tasks of the share of equal pairs, against the shares of the options;
-- with as many answers for every task it is the one of Fleiss (1971).
WITH cells AS (
  SELECT
    project_id,
    votes,
    num_annotations,
    num_tasks,
    vote.label,
    vote.num_votes,
    IF(num_annotations >= 2, vote.num_votes * num_tasks, 0) AS num_pairable
  FROM {patterns}
  LATERAL VIEW explode(votes) listed AS vote
),
options AS (
  SELECT
    project_id,
    label,
    IF(label RLIKE '^[+-]?[0-9]+([.][0-9]+)?$', try_cast(label AS DOUBLE), NULL) AS value,
    CAST(sum(num_pairable) AS DOUBLE) AS num_answers
  FROM cells
  GROUP BY
    project_id,
    label
),
ranked AS (
  SELECT
    project_id,
    label,
    (
      sum(num_answers) OVER (PARTITION BY project_id ORDER BY value)
      - sum(num_answers) OVER (PARTITION BY project_id, value) / 2
    ) / nullif(sum(num_answers) OVER (PARTITION BY project_id), 0) - 0.5D AS place,
    num_answers
  FROM options
),
projects AS (
  SELECT
    options.project_id,
    count(*) AS num_options,
    every(options.value IS NOT NULL) AS is_ordinal,
    sum(ranked.num_answers) AS num_answers,
    sum(ranked.num_answers * ranked.num_answers) AS squares,
    sum(ranked.num_answers * ranked.place) AS places,
    sum(ranked.num_answers * ranked.place * ranked.place) AS place_squares
  FROM options
  JOIN ranked
    ON options.project_id = ranked.project_id
    AND options.label = ranked.label
  GROUP BY
    options.project_id
),
patterns AS (
  SELECT
    cells.project_id,
    cells.votes,
    cells.num_tasks,
    CAST(cells.num_annotations AS DOUBLE) AS num_answers,
    CAST(sum(cells.num_votes * cells.num_votes) AS DOUBLE) AS squares,
    sum(cells.num_votes * ranked.place) AS places,
    sum(cells.num_votes * ranked.place * ranked.place) AS place_squares
  FROM cells
  JOIN ranked
    ON cells.project_id = ranked.project_id
    AND cells.label = ranked.label
  WHERE cells.num_annotations >= 2
  GROUP BY
    cells.project_id,
    cells.votes,
    cells.num_tasks,
    cells.num_annotations
),
observed AS (
  SELECT
    project_id,
    sum(num_tasks) AS num_tasks,
    sum(num_tasks * (num_answers * num_answers - squares) / (num_answers - 1)) AS nominal,
    sum(num_tasks * 2 * (num_answers * place_squares - places * places) / (num_answers - 1))
      AS ordinal,
    sum(num_tasks * (squares - num_answers) / (num_answers * (num_answers - 1)))
      / sum(num_tasks) AS equal_pairs
  FROM patterns
  GROUP BY
    project_id
)
SELECT
  projects.project_id,
  projects.num_options,
  coalesce(observed.num_tasks, 0) AS num_pairable_tasks,
  CAST(projects.num_answers AS BIGINT) AS num_pairable_annotations,
  1 - observed.nominal * (projects.num_answers - 1)
    / nullif(projects.num_answers * projects.num_answers - projects.squares, 0)
    AS krippendorff_alpha,
  IF(
    projects.is_ordinal AND projects.num_answers * projects.num_answers > projects.squares,
    1 - observed.ordinal * (projects.num_answers - 1) / nullif(
      2 * (projects.num_answers * projects.place_squares - projects.places * projects.places), 0
    ),
    NULL
  ) AS krippendorff_alpha_ordinal,
  1 - (1 - observed.equal_pairs)
    / nullif(1 - projects.squares / nullif(projects.num_answers * projects.num_answers, 0), 0)
    AS fleiss_kappa
FROM projects
LEFT JOIN observed
  ON projects.project_id = observed.project_id
