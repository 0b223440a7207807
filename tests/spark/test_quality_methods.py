"""Quality of labels and projects, query by query, on literal rows; gold says who is right."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest
from chispa import assert_approx_df_equality, assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

from crowdfm_core.evaluation.measures import Prediction, reliability
from jobs.sql import run_sql

LABELS = "project_id string, task_id string, method string, label string, probability double"
GOLD = "project_id string, task_id string, true_label string, is_given boolean"
JUDGED = f"{LABELS}, true_label string"
PROBABILITIES = (
    "project_id string, method string, percent bigint, num_tasks bigint, probability_units bigint"
)
TASKS = (
    "project_id string, task_id string, num_annotations bigint, label string, entropy double, "
    "num_methods int, num_differing_pairs int, dissenting_methods array<string>"
)


def as_nullable(frame: DataFrame) -> StructType:
    """The frame's schema for expected rows, in which anything may be null."""
    return StructType([StructField(field.name, field.dataType) for field in frame.schema])


def same(found: DataFrame, *rows: tuple[object, ...]) -> None:
    """Expect exactly these rows, in any order, up to rounding."""
    expected = found.sparkSession.createDataFrame(list(rows), as_nullable(found))
    assert_approx_df_equality(found, expected, 1e-9, ignore_row_order=True, ignore_nullable=True)


def test_probabilities_are_counted_in_whole_percents(spark: SparkSession) -> None:
    rows = [
        ("p", "1", "m", "a", 0.57),  # 0.57 * 100 is a little less than 57
        ("p", "2", "m", "a", 0.579),
        ("p", "3", "m", "a", 1.0),
        ("p", "4", "m", "a", None),  # a method without probabilities
        ("p", "1", "n", "a", 0.9),
    ]
    found = run_sql(
        "quality_probabilities", {"unit": 1000}, labels=spark.createDataFrame(rows, LABELS)
    )
    same(
        found,
        ("p", "m", 57, 2, 1149),
        ("p", "m", 100, 1, 1000),
        ("p", "m", None, 1, None),
        ("p", "n", 90, 1, 900),
    )


def test_labels_are_judged_where_the_truth_is_known(spark: SparkSession) -> None:
    labels = [
        ("p", "1", "m", "a", 0.9),
        ("p", "1", "told", "b", 1.0),  # it was told that
        ("p", "2", "m", "a", 0.8),
        ("p", "3", "told", "a", 0.6),  # held out
        ("q", "1", "m", "a", 0.7),
    ]
    gold = [("p", "1", "b", True), ("p", "3", "b", False), ("p", "9", "a", True)]  # 9: no label
    found = run_sql(
        "quality_judged",
        {"with_gold": "other,told"},
        labels=spark.createDataFrame(labels, LABELS),
        gold=spark.createDataFrame(gold, GOLD),
    )
    expected = [("p", "1", "m", "a", 0.9, "b"), ("p", "3", "told", "a", 0.6, "b")]
    assert_df_equality(found, spark.createDataFrame(expected, JUDGED), ignore_row_order=True)


def test_truth_measures_equal_plain_equations_on_drawn_labels(spark: SparkSession) -> None:
    rng = np.random.default_rng(1)
    truth = rng.choice(list("abc"), 200)
    label = np.where(rng.random(200) < 0.6, truth, rng.choice(list("abcd"), 200))
    probability = rng.choice([0.3, 0.55, 0.7, 0.95, 1.0], 200)  # also on the edges of bins
    rows: list[tuple[object, ...]] = [
        ("p", str(task), "m", str(label[task]), float(probability[task]), str(truth[task]))
        for task in range(200)
    ]
    rows += [("p", "0", "n", "b", None, "a"), ("p", "1", "n", "a", None, "a")]
    frame = spark.createDataFrame(rows, JUDGED)
    found = {
        row["method"]: row
        for row in run_sql("quality_truth", {"max_cells": 2}, judged=frame).collect()
    }
    right = label == truth
    per_class = [
        2 * (right & (truth == option)).sum() / ((truth == option).sum() + (label == option).sum())
        for option in "abcd"  # d is never the truth, and its F1 is 0
    ]
    expected = reliability(Prediction(right.astype(float), probability, probability))
    m = found["m"]
    assert (m["num_gold"], m["num_correct"], m["num_classes"]) == (200, right.sum(), 4)
    assert m["accuracy"] == pytest.approx(right.mean())
    assert m["macro_f1"] == pytest.approx(np.mean(per_class))
    assert m["expected_calibration_error"] == pytest.approx(expected.calibration_error())
    assert len(m["confusion"]) == 2
    n = found["n"]
    assert (n["num_gold"], n["accuracy"], n["macro_f1"]) == (2, 0.5, pytest.approx(1 / 3))
    assert (n["num_calibrated"], n["expected_calibration_error"]) == (0, None)
    assert [tuple(cell) for cell in n["confusion"]] == [("a", "a", 1), ("a", "b", 1)]


def test_methods_have_their_counts_with_and_without_truth(spark: SparkSession) -> None:
    probabilities = [
        ("p", "m", 90, 3, 2700),
        ("p", "m", None, 1, None),
        ("p", "n", None, 4, None),
        ("q", "m", 50, 2, 1000),
    ]
    tasks: list[tuple[object, ...]] = [
        ("p", "1", 3, "a", None, 2, 1, ["n"]),
        ("p", "2", 3, "a", None, 2, 0, []),
        ("p", "3", 3, None, None, 1, 0, None),
    ]
    truth = run_sql(
        "quality_truth",
        {"max_cells": 5},
        judged=spark.createDataFrame([("p", "1", "m", "a", 0.9, "a")], JUDGED),
    )
    found = run_sql(
        "quality_methods",
        {"unit": 1000, "reference": "m"},
        probabilities=spark.createDataFrame(probabilities, PROBABILITIES),
        tasks=spark.createDataFrame(tasks, TASKS),
        truth=truth,
    ).select(
        "project_id",
        "method",
        "num_labelled",
        "num_probabilities",
        "mean_probability",
        "num_differing",
        "disagreement_with_reference",
        "num_gold",
        "accuracy",
    )
    same(
        found,
        ("p", "m", 4, 3, 0.9, 0, 0.0, 1, 1.0),
        ("p", "n", 4, 0, None, 1, 0.25, 0, None),
        ("q", "m", 2, 2, 0.5, 0, 0.0, 0, None),
    )


def test_thresholds_count_labels_from_a_probability_on(spark: SparkSession) -> None:
    probabilities = [
        ("p", "m", 49, 1, 0),
        ("p", "m", 90, 2, 0),
        ("p", "m", 100, 1, 0),
        ("p", "none", None, 4, None),
    ]
    judged = [
        ("p", "1", "m", "a", 0.49, "a"),
        ("p", "2", "m", "a", 0.9, "b"),
        ("p", "3", "m", "a", 1.0, "a"),
        ("p", "1", "none", "a", None, "a"),
    ]
    found = run_sql(
        "quality_thresholds",
        probabilities=spark.createDataFrame(probabilities, PROBABILITIES),
        judged=spark.createDataFrame(judged, JUDGED),
    )
    rows = {row["threshold"]: row for row in found.collect()}
    assert sorted(rows) == [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
    assert {row["method"] for row in rows.values()} == {"m"}
    counts = {at: (row["num_tasks"], row["num_gold"], row["accuracy"]) for at, row in rows.items()}
    assert counts[0.0] == (4, 3, pytest.approx(2 / 3))
    assert counts[0.5] == counts[0.9] == (3, 2, 0.5)  # 0.9 itself is within
    assert counts[0.95] == counts[0.99] == (1, 1, 1.0)
    assert (rows[0.9]["num_labelled"], rows[0.9]["share_of_tasks"]) == (4, 0.75)


def test_label_shares_are_of_the_labelled_tasks(spark: SparkSession) -> None:
    tasks: list[tuple[object, ...]] = [
        ("p", "1", 3, "a", 0.2, 3, 2, []),
        ("p", "2", 2, "a", 0.4, 2, 0, []),
        ("p", "3", 1, "b", None, 1, 0, []),
        ("p", "4", 1, "c", None, 1, 0, []),
        ("p", "5", 1, None, None, 0, 0, None),  # the reference abstains
        ("q", "1", 1, None, None, 0, 0, None),  # it has no labels at all here
    ]
    found = {
        row["project_id"]: row
        for row in run_sql(
            "quality_labels", {"max_labels": 2}, tasks=spark.createDataFrame(tasks, TASKS)
        ).collect()
    }
    p = found["p"]
    assert (p["num_tasks"], p["num_annotations"], p["num_labelled"]) == (5, 8, 4)
    assert p["coverage"] == pytest.approx(0.8)
    assert p["label_shares"] == {"a": 0.5, "b": 0.25}  # the most frequent two
    assert p["label_entropy"] == pytest.approx(1.5 * math.log(2))
    assert (p["num_entropies"], p["mean_entropy"]) == (2, pytest.approx(0.3))
    assert (p["num_method_pairs"], p["method_disagreement"]) == (4, 0.5)
    q = found["q"]
    assert (q["num_labelled"], q["coverage"], q["label_shares"]) == (0, 0.0, {})
    assert (q["label_entropy"], q["mean_entropy"], q["method_disagreement"]) == (None, None, None)


def test_drift_is_measured_against_the_newest_published_run(spark: SparkSession) -> None:
    history = [
        ("p", "old", {"a": 1.0}),
        ("p", "new", {"a": 0.5, "b": 0.5}),
        ("p", "failed", {"c": 1.0}),
        ("p", "now", {"c": 1.0}),  # this very run, tried before
        ("gone", "old", {"a": 1.0}),
    ]
    runs = [
        ("old", "SUCCEEDED", datetime(2026, 1, 1)),
        ("new", "SUCCEEDED", datetime(2026, 1, 2)),
        ("failed", "FAILED", datetime(2026, 1, 3)),
        ("now", "SUCCEEDED", datetime(2026, 1, 4)),
    ]
    shares = "project_id string, run_id string, label_shares map<string, double>"
    previous = run_sql(
        "quality_previous",
        {"run_id": "now"},
        project_quality=spark.createDataFrame(history, shares),
        runs=spark.createDataFrame(runs, "run_id string, status string, started_at timestamp"),
    )
    assert {row["project_id"]: row["run_id"] for row in previous.collect()} == {
        "p": "new",
        "gone": "old",
    }
    tasks: list[tuple[object, ...]] = [
        ("p", "1", 2, "a", 0.1, 1, 0, []),
        ("p", "2", 2, "c", 0.1, 1, 0, []),
        ("fresh", "1", 2, "a", 0.1, 1, 0, []),
    ]
    agreement = (
        "project_id string, num_options bigint, num_pairable_tasks bigint, "
        "num_pairable_annotations bigint, krippendorff_alpha double, "
        "krippendorff_alpha_ordinal double, fleiss_kappa double"
    )
    found = run_sql(
        "quality_projects",
        {"reference": "m"},
        labels=run_sql(
            "quality_labels", {"max_labels": 9}, tasks=spark.createDataFrame(tasks, TASKS)
        ),
        agreement=spark.createDataFrame(
            [("p", 4, 2, 4, 0.3, None, 0.3), ("fresh", 1, 1, 2, None, None, None)], agreement
        ),
        pairs=spark.createDataFrame(
            [("p", 3, 0.2)], "project_id string, num_worker_pairs bigint, mean_cohen_kappa double"
        ),
        methods=spark.createDataFrame(
            [("p", "m", 1, 1.0, 1.0, 0.1), ("p", "n", 1, 0.0, 0.0, 0.9)],
            "project_id string, method string, num_gold bigint, accuracy double, "
            "macro_f1 double, expected_calibration_error double",
        ),
        previous=previous,
    )
    by_project = {row["project_id"]: row for row in found.collect()}
    p, fresh = by_project["p"], by_project["fresh"]
    # From half a, half b to half a, half c.
    assert (p["previous_run_id"], p["label_drift"]) == ("new", pytest.approx(0.5))
    assert p["class_balance"] == pytest.approx(0.5)  # two equal ones of four
    assert (p["num_gold"], p["accuracy"]) == (1, 1.0)  # of the reference
    assert (fresh["previous_run_id"], fresh["label_drift"]) == (None, None)
    assert (fresh["num_worker_pairs"], fresh["class_balance"], fresh["num_gold"]) == (0, None, 0)
