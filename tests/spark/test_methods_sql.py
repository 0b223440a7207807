"""Classical methods in SQL: equal to their array forms on literal rows and on drawn projects."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from crowdfm_core.config import _IN_SQL
from crowdfm_core.errors import UndefinedMethodError
from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.registry import METHODS
from jobs.spark_settings import settings_of
from jobs.steps.crowdfm import Aggregated
from jobs.steps.gold import GOLD_SCHEMA
from jobs.steps.methods_em import one_coin_dawid_skene
from jobs.steps.methods_encoded import EncodedAnswers, encode_answers
from jobs.steps.methods_sql import SQL_METHODS, aggregate_in_sql
from jobs.steps.options import index_options

# (task, worker, label) of a project that is worth reading: a tie, and a worker who is always wrong.
LITERAL = [
    ("t1", "a", "x"),
    ("t1", "b", "x"),
    ("t1", "wrong", "y"),
    ("t2", "a", "y"),  # a tie between y and z
    ("t2", "b", "z"),
    ("t3", "a", "z"),
    ("t3", "b", "z"),
    ("t3", "wrong", "x"),
    ("t4", "b", "y"),  # one answer: no two thirds of at least two
]
# Project -> tasks, workers, options, skill; in "poor" weights below chance turn votes around.
DRAWN = {"good": (40, 9, 4, 0.7), "poor": (25, 6, 2, 0.0), "single": (1, 1, 1, 1.0)}
# What methods that use gold are told: nothing of "poor"; of "single" what is none of its options.
GOLD = {
    "literal": {"t2": "y", "t3": "x", "t4": "y"},
    "good": {"t'03": "o00\u00e9", "t'04": "o02\u00e9", "t'05": "o01\u00e9"},
    "single": {"t'00": "unheard"},
}
# Fewer iterations than by default: some projects end by their own rule, one by the limit.
SHORTER: dict[str, dict[str, Any]] = {
    "zero_based_skill": {"iterations": 2},
    "dawid_skene": {"max_iterations": 3, "tolerance": 2e-2},
    "one_coin_dawid_skene": {"max_iterations": 3, "tolerance": 2e-2},
    "weighted_dawid_skene": {"max_iterations": 3, "tolerance": 2e-2},
}
SINGLE_PASS = ("gold_majority_vote", "naive_soft", "twothird", "wawa")


def answers_frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [("literal", *row) for row in LITERAL]
    for project, (tasks, workers, options, skill) in DRAWN.items():
        for task in range(tasks):
            for worker in rng.choice(workers, min(5, workers), replace=False):
                knows = rng.random() < skill * (worker + 1) / workers
                option = task % options if knows else rng.integers(0, options)
                rows.append((project, f"t'{task:02}", f"w{worker}", f"o{option:02}\u00e9"))
    return pd.DataFrame(rows, columns=["project_id", "task_id", "worker_id", "label"])


@pytest.fixture(scope="module")
def encoded(spark: SparkSession) -> EncodedAnswers:
    rows = [
        (project, task, label, True)
        for project, known in GOLD.items()
        for task, label in known.items()
    ]
    # Held out, and so told to nobody.
    rows += [("good", "t'06", "o03\u00e9", False)]
    annotations = spark.createDataFrame(answers_frame().assign(component_id="c"))
    gold = spark.createDataFrame(rows, GOLD_SCHEMA)
    return encode_answers(annotations, index_options(annotations), gold)


def on_arrays(method: str, project: str) -> tuple[MethodResult | str, Answers, list[Any], Any, Any]:
    """The array form: result or why there is none, answers, and the sorted ids of tasks, workers
    and options."""
    frame = answers_frame()
    rows = frame[frame["project_id"] == project]
    (tasks, task), (workers, worker), (options, option) = (
        np.unique(rows[name].to_numpy(str), return_inverse=True)
        for name in ("task_id", "worker_id", "label")
    )
    index = [part.astype(np.int32) for part in (task, worker, option)]
    answers = Answers(index[0], index[1], index[2], len(tasks), len(workers), len(options))
    settings = dict(SHORTER.get(method, {}))
    if METHODS[method].uses_gold:
        truth = [GOLD.get(project, {}).get(name) for name in tasks]
        settings["gold"] = np.array(
            [list(options).index(label) if label in options else -1 for label in truth]
        )
    try:
        result: MethodResult | str = METHODS[method].run(answers, **settings)
    except UndefinedMethodError as error:
        result = str(error)
    return result, answers, list(tasks), workers, options


def in_sql(method: str, encoded: EncodedAnswers, monkeypatch: pytest.MonkeyPatch) -> Aggregated:
    shorter = partial(SQL_METHODS[method], **SHORTER.get(method, {}))
    monkeypatch.setitem(SQL_METHODS, method, shorter)
    lines: list[str] = []
    told = encoded if METHODS[method].uses_gold else encoded.without_gold()
    result = aggregate_in_sql(method, told, max_probabilities=50, say=lines.append)
    assert bool(lines) == (method not in SINGLE_PASS)
    return result


@pytest.mark.parametrize("method", SQL_METHODS)
def test_method_in_sql_equals_its_array_form(
    encoded: EncodedAnswers, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = in_sql(method, encoded, monkeypatch)
    labels: Any = found.labels.toPandas().set_index(["project_id", "task_id"])
    scores: Any = found.workers.toPandas().set_index(["project_id", "worker_id"])
    assert found.fits is not None
    fits: Any = found.fits.toPandas().set_index("project_id")
    assert set(labels["method"]) == set(scores["method"]) == {method}
    undefined: list[str] = []
    for project in ("literal", *DRAWN):
        expected, answers, tasks, workers, options = on_arrays(method, project)
        fit = fits.loc[project]
        if isinstance(expected, str):
            assert (fit["problem"], fit["converged"]) == (expected, None)
            assert project not in {
                *labels.index.get_level_values(0),
                *scores.index.get_level_values(0),
            }
            undefined.append(project)
            continue
        assert expected.probabilities is not None
        has_label = expected.label >= 0
        labelled = [task for task, has in zip(tasks, has_label, strict=True) if has]
        assert len(labels[labels.index.get_level_values(0) == project]) == len(labelled)
        for t, task in enumerate(tasks):
            if not has_label[t]:
                continue
            row, p = labels.loc[(project, task)], expected.probabilities[t]
            assert row["label"] == options[expected.label[t]]
            dense = [row["probabilities"].get(option, 0.0) for option in options]
            np.testing.assert_allclose(dense, p, atol=1e-8)
            ranked = [*np.sort(p)[::-1], 0.0]
            assert row["margin"] == pytest.approx(ranked[0] - ranked[1], abs=1e-8)
            assert row["is_tie"] == (len(options) > 1 and ranked[0] - ranked[1] < 1e-9)
            positive = p[p > 0]
            assert row["entropy"] == pytest.approx(-(positive @ np.log(positive)), abs=1e-6)
            own = answers.option_index[answers.task_index == t]
            assert row["agreement"] == (own == expected.label[t]).mean()
            assert row["num_annotations"] == len(own)
        mine = scores.loc[project].loc[workers]
        np.testing.assert_allclose(mine["score"], expected.worker_score, atol=1e-8)
        own_probability = answers.sum_per_worker(answers.own_values(expected.probabilities))
        count = answers.answers_per_worker()
        np.testing.assert_allclose(mine["expected_accuracy"], own_probability / count, atol=1e-8)
        counted = answers.sum_per_worker(has_label[answers.task_index])
        agrees = answers.sum_per_worker(answers.option_index == expected.label[answers.task_index])
        with np.errstate(invalid="ignore"):
            agreement = agrees / counted
        np.testing.assert_allclose(
            mine["agreement_with_aggregate"].astype(float), agreement, atol=1e-12
        )
        assert (fit["problem"], fit["iterations"], fit["converged"]) == (
            None,
            expected.iterations,
            expected.converged,
        )
    assert undefined == (["poor", "single"] if method == "gold_majority_vote" else [])


def test_gold_is_kept_from_methods_that_are_not_told(encoded: EncodedAnswers) -> None:
    keys = encoded.tasks.where("known_option IS NOT NULL").select("project_id", "task_id").collect()
    assert {tuple(row) for row in keys} == {
        (project, task) for project in ("literal", "good") for task in GOLD[project]
    }
    told, untold = encoded, encoded.without_gold()
    for frame in (untold.tasks, untold.answers):
        assert frame.where("known_option IS NOT NULL").count() == 0
    assert told.answers.where("known_option IS NOT NULL").count() > 0


def test_sums_over_the_answers_of_a_task_move_nothing(encoded: EncodedAnswers) -> None:
    per_task = encoded.answers.groupBy("task_key").count()
    plan = per_task._jdf.queryExecution().executedPlan().toString()
    assert "Exchange" not in plan


def test_partitioning_leaves_no_trace(
    spark: SparkSession, encoded: EncodedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = partial(one_coin_dawid_skene, max_iterations=2)
    monkeypatch.setitem(SQL_METHODS, "one_coin_dawid_skene", shorter)

    def rows(encoded: EncodedAnswers) -> tuple[list[str], list[str]]:
        result = aggregate_in_sql(
            "one_coin_dawid_skene", encoded, max_probabilities=2, say=lambda _: None
        )
        return sorted(map(str, result.labels.collect())), sorted(map(str, result.workers.collect()))

    with settings_of(spark, {"spark.sql.shuffle.partitions": "2"}):
        shuffled = answers_frame().assign(component_id="c").sample(frac=1, random_state=1)
        annotations = spark.createDataFrame(shuffled)
        nothing = spark.createDataFrame([], GOLD_SCHEMA)
        other = encode_answers(annotations, index_options(annotations), nothing)
    assert rows(other) == rows(encoded.without_gold())  # to the last bit


def test_configuration_names_exactly_the_methods_that_sql_has() -> None:
    assert sorted(SQL_METHODS) == list(_IN_SQL)


def test_lake_without_answers_has_no_labels(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations = spark.createDataFrame(answers_frame().assign(component_id="c")).where("false")
    gold = spark.createDataFrame([], GOLD_SCHEMA)
    none = encode_answers(annotations, index_options(annotations), gold)
    assert in_sql("dawid_skene", none, monkeypatch).labels.isEmpty()
