"""Agreement of annotations: published examples, the krippendorff package, and plain equations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import krippendorff
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from jobs.sql import run_sql
from jobs.steps.annotations import arrange_by_task
from jobs.steps.majority_vote import count_votes
from jobs.steps.options import index_options

Vote = tuple[str, str, str, str]  # project_id, task_id, worker_id, label

# Krippendorff, "Computing Krippendorff's Alpha-Reliability": four coders, twelve units.
RELIABILITY_DATA = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
# Fleiss (1971), as a table of subjects and categories, 14 raters each.
FLEISS = """0 0 0 0 14;0 2 6 4 2;0 0 3 5 6;0 3 9 2 0;2 2 8 1 1;7 7 0 0 0;3 2 6 3 0;2 5 3 2 2;
6 5 2 1 0;0 2 2 3 7"""


def votes_of_counts(project: str, counts: np.ndarray, names: Sequence[str]) -> Iterable[Vote]:
    """Rows for a table of tasks and options that holds numbers of votes."""
    for task, row in enumerate(counts):
        labels = np.repeat(list(names), row)
        for worker, label in enumerate(labels):
            yield project, str(task), str(worker), str(label)


def agreement(spark: SparkSession, rows: Iterable[Vote]) -> dict[str, Row]:
    """One row per project, from annotations to coefficients."""
    schema = "project_id string, task_id string, worker_id string, label string"
    frame = spark.createDataFrame(list(rows), schema).withColumn("component_id", F.lit("c"))
    votes = count_votes(arrange_by_task(frame), index_options(frame))
    patterns = run_sql("quality_vote_patterns", tasks=votes)
    found = run_sql("quality_agreement", patterns=patterns).collect()
    return {row["project_id"]: row for row in found}


def test_published_examples(spark: SparkSession) -> None:
    reliability: list[Vote] = [
        ("alpha", str(unit), str(coder), value)
        for coder, values in enumerate(RELIABILITY_DATA)
        for unit, value in enumerate(values)
        if value != "."
    ]
    table = np.array([[int(n) for n in line.split()] for line in FLEISS.split(";")])
    found = agreement(spark, [*reliability, *votes_of_counts("fleiss", table, "abcde")])
    assert found["alpha"]["krippendorff_alpha"] == pytest.approx(0.743, abs=0.0005)
    assert found["alpha"]["krippendorff_alpha_ordinal"] == pytest.approx(0.815, abs=0.0005)
    # One unit of the twelve has a single value.
    assert found["alpha"]["num_pairable_tasks"] == 11
    assert found["alpha"]["num_pairable_annotations"] == 40
    assert found["fleiss"]["fleiss_kappa"] == pytest.approx(0.210, abs=0.0005)
    assert found["fleiss"]["krippendorff_alpha_ordinal"] is None  # letters have no order


def assert_equal(found: float | None, expected: float) -> None:
    """Expect null where the package has no number."""
    assert found == (None if np.isnan(expected) else pytest.approx(expected, abs=1e-9))


def test_drawn_projects_equal_the_package_and_the_plain_formula(spark: SparkSession) -> None:
    rng = np.random.default_rng(1)
    tables, names = {}, {}
    for project in map(str, range(30)):
        options = int(rng.integers(2, 7))
        leaning = rng.dirichlet(np.ones(options), size=int(rng.integers(5, 40)))
        tables[project] = np.array(
            [rng.multinomial(rng.integers(0, 7), shares) for shares in leaning]
        )
        # As text, 10 comes before 2, and -1 before -2.
        names[project] = [str(value) for value in (-2, -1, 2, 10, 10.5, 30)[:options]]
    rows = [row for key, table in tables.items() for row in votes_of_counts(key, table, names[key])]
    found = agreement(spark, rows)
    for project, table in tables.items():
        counts = table[:, table.sum(axis=0) > 0]  # options that nobody answered are unknown
        for column, level in (
            ("krippendorff_alpha", "nominal"),
            ("krippendorff_alpha_ordinal", "ordinal"),
        ):
            with np.errstate(invalid="ignore"):  # all equal: undefined
                expected = krippendorff.alpha(value_counts=counts, level_of_measurement=level)
            assert_equal(found[project][column], expected)
        many = counts[counts.sum(axis=1) >= 2]
        n = many.sum(axis=1)
        chance = ((many.sum(axis=0) / n.sum()) ** 2).sum()
        equal = ((many**2).sum(axis=1) - n) / (n * (n - 1))
        if chance < 1:
            kappa = (equal.mean() - chance) / (1 - chance)
            assert found[project]["fleiss_kappa"] == pytest.approx(kappa, abs=1e-9)
        assert found[project]["num_options"] == counts.shape[1]


def test_coefficients_are_null_where_nothing_can_disagree(spark: SparkSession) -> None:
    found = agreement(
        spark,
        [
            ("equal", "t", "1", "7"),  # one option: no disagreement is expected either
            ("equal", "t", "2", "7"),
            ("single", "t1", "1", "7"),  # no two answers to one task
            ("single", "t2", "1", "8"),
            ("same", "t", "1", "7"),  # two spellings of one number are as far apart as equal ones
            ("same", "t", "2", "7.0"),
        ],
    )
    for project, pairable in (("equal", 1), ("single", 0), ("same", 1)):
        row = found[project]
        assert row["num_pairable_tasks"] == pairable
        assert row["krippendorff_alpha_ordinal"] is None
    assert found["equal"]["krippendorff_alpha"] is None
    assert found["single"]["fleiss_kappa"] is None
    assert found["same"]["krippendorff_alpha"] == pytest.approx(0)


def paired(spark: SparkSession, frame: pd.DataFrame, **limits: int) -> list[Row]:
    """quality_pair_kappa.sql over answers (project_id, task_id, worker_id, answer)."""
    counts = frame.groupby(["project_id", "task_id"])["answer"].transform("size")
    answers = arrange_by_task(spark.createDataFrame(frame.assign(num_task_annotations=counts)))
    per_worker = frame.groupby(["project_id", "worker_id"]).size().rename("num_with_peers")
    confusions: DataFrame = spark.createDataFrame(per_worker.reset_index())
    values = {"max_workers": 10, "max_meetings": 100_000, "min_shared": 5} | limits
    most = {"max_workers": values.pop("max_workers")}
    busiest = run_sql("quality_busiest_workers", most, confusions=confusions)
    shared = run_sql("quality_shared_tasks", answers=answers, busiest=busiest)
    return run_sql("quality_pair_kappa", values, shared=shared).collect()


def cohen_kappa(one: pd.Series, other: pd.Series) -> float:
    """The plain formula of two workers' answers to the same tasks."""
    both = pd.crosstab(one, other)
    both = both.reindex(index=(options := sorted({*one, *other})), columns=options, fill_value=0)
    shares = both.to_numpy() / both.to_numpy().sum()
    chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return float((np.trace(shares) - chance) / (1 - chance))


def test_mean_kappa_of_pairs_equals_the_plain_formula_within_its_bounds(
    spark: SparkSession,
) -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        [
            ("p", f"t{task}", f"w{worker}", str(rng.choice(np.array([task % 3, rng.integers(3)]))))
            for task in range(60)
            for worker in range(6)
            if rng.random() < 0.3 + 0.1 * worker  # the last ones are the busiest
        ],
        columns=["project_id", "task_id", "worker_id", "answer"],
    )
    by_task = frame.pivot(index="task_id", columns="worker_id", values="answer")

    def expected(workers: Sequence[str]) -> list[float]:
        pairs = [(a, b) for a in workers for b in workers if a < b]
        shared = [by_task[[a, b]].dropna() for a, b in pairs]
        return [cohen_kappa(s.iloc[:, 0], s.iloc[:, 1]) for s in shared if len(s) >= 5]

    (row,) = paired(spark, frame)
    kappas = expected([f"w{worker}" for worker in range(6)])
    assert row["num_worker_pairs"] == len(kappas)
    assert row["mean_cohen_kappa"] == pytest.approx(np.mean(kappas))
    busiest = list(frame["worker_id"].value_counts().index[:3])
    (row,) = paired(spark, frame, max_workers=3)
    assert row["mean_cohen_kappa"] == pytest.approx(np.mean(expected(busiest)))
    # A part of the tasks: pairs share fewer of them.
    sampled = paired(spark, frame, max_meetings=150, min_shared=1)
    assert sampled[0]["mean_cohen_kappa"] != pytest.approx(np.mean(kappas))
    assert paired(spark, frame, max_meetings=150, min_shared=50) == []
