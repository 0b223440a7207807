"""Majority voting: literal rows, the tie rule, and pandas as the second route."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.steps.annotations import arrange_by_task
from jobs.steps.majority_vote import (
    count_votes,
    majority_vote_labels,
    majority_vote_workers,
)
from jobs.steps.options import index_options
from tests.spark.answers import plan_of

SCHEMA = "project_id string, task_id string, worker_id string, label string, component_id string"


def arranged(spark: SparkSession, rows: Any) -> DataFrame:
    return arrange_by_task(spark.createDataFrame(rows, SCHEMA))


def counted(annotations: DataFrame) -> DataFrame:
    return count_votes(annotations, index_options(annotations))


def test_votes_are_counted_as_the_rows_come(spark: SparkSession) -> None:
    """Without tables of all tasks in memory, which sorted rows do not need."""
    rows = [("p", "t", "1", "a", "c"), ("p", "t", "2", "b", "c")]
    annotations = spark.createDataFrame(rows, SCHEMA)
    placed = arrange_by_task(annotations, "component_id", "label").persist()
    placed.count()
    plan = plan_of(count_votes(placed, index_options(annotations)))
    votes = plan.split("BroadcastExchange")[0]
    assert votes.count("SortAggregate") == 2  # per answer, per task
    assert "HashAggregate" not in votes
    assert " Sort " not in votes.split("InMemoryTableScan")[0]
    placed.unpersist()


def test_labels_follow_votes_then_the_project_then_the_alphabet(spark: SparkSession) -> None:
    rows = [
        ("p", "clear", "1", "a", "c"),  # two votes against one
        ("p", "clear", "2", "a", "c"),
        ("p", "clear", "3", "b", "c"),
        ("p", "common", "1", "z", "c"),  # a tie; z stands in the project as often as b: alphabet
        ("p", "common", "2", "b", "c"),
        ("p", "rare", "1", "a", "c"),  # a tie; a is answered more often than b
        ("p", "rare", "2", "b", "c"),
        ("p", "z", "1", "z", "c"),  # one vote
        ("p", "z2", "1", "z", "c"),
        ("q", "clear", "1", "B", "d"),  # the same task_id elsewhere; capitals before small letters
        ("q", "clear", "2", "a", "d"),
    ]
    labels = majority_vote_labels(counted(arranged(spark, rows)), 10)
    found = labels.select("project_id", "task_id", "label", "runner_up_label", "is_tie")
    expected = spark.createDataFrame(
        [
            ("p", "clear", "a", "b", False),
            ("p", "common", "b", "z", True),
            ("p", "rare", "a", "b", True),
            ("p", "z", "z", None, False),
            ("p", "z2", "z", None, False),
            ("q", "clear", "B", "a", True),
        ],
        found.schema,
    )
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
    clear = labels.where("project_id = 'p' AND task_id = 'clear'").first()
    assert clear is not None
    assert clear["probabilities"] == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert clear["margin"] == pytest.approx(1 / 3)
    assert clear["entropy"] == pytest.approx(-(2 * math.log(2 / 3) + math.log(1 / 3)) / 3)
    assert (clear["num_annotations"], clear["component_id"]) == (3, "c")


def test_random_votes_equal_pandas(spark: SparkSession) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "project_id": rng.choice(["p", "q"], 600),
            "task_id": rng.integers(0, 60, 600).astype(str),
            "worker_id": rng.integers(0, 30, 600).astype(str),
            "label": rng.choice(list("abcd"), 600),
            "component_id": "c",
        }
    ).drop_duplicates(["project_id", "task_id", "worker_id"])
    annotations = arranged(spark, frame)
    votes_of_tasks = counted(annotations)
    labels = majority_vote_labels(votes_of_tasks, 3)  # of up to four options
    workers = majority_vote_workers(annotations, votes_of_tasks)

    keys = ["project_id", "task_id"]
    votes = frame.groupby([*keys, "label"]).size().rename("votes").reset_index()
    common = frame.groupby(["project_id", "label"]).size().rename("common").reset_index()
    votes = votes.merge(common).sort_values(
        ["votes", "common", "label"], ascending=[False, False, True]
    )
    expected = votes.groupby(keys).first()["label"]
    found = labels.toPandas().set_index(keys)
    assert found["label"].to_dict() == expected.to_dict()

    votes["share"] = votes["votes"] / votes.groupby(keys)["votes"].transform("sum")
    listed = votes.groupby(keys).head(3)
    shares = {
        key: dict(zip(of["label"], of["share"], strict=True)) for key, of in listed.groupby(keys)
    }
    assert {len(of) for of in shares.values()} == {1, 2, 3}
    assert found["probabilities"].to_dict() == {
        key: pytest.approx(of, rel=1e-12) for key, of in shares.items()
    }
    entropy = votes.groupby(keys)["share"].agg(lambda share: -(share * np.log(share)).sum())
    assert found["entropy"].to_dict() == pytest.approx(entropy.to_dict(), rel=1e-12, abs=1e-15)

    joined = frame.merge(votes).merge(expected.rename("winner").reset_index())
    joined["agrees"] = joined["label"] == joined["winner"]
    per_worker = joined.groupby(["project_id", "worker_id"])
    scores = workers.toPandas().set_index(["project_id", "worker_id"])
    for column, values in (
        ("agreement_with_aggregate", per_worker["agrees"].mean()),
        ("score", per_worker["agrees"].mean()),
        ("expected_accuracy", per_worker["share"].mean()),
        ("num_tasks", per_worker.size()),
    ):
        pd.testing.assert_series_equal(
            scores[column].astype(float).sort_index(),
            values.astype(float).sort_index(),
            check_names=False,
        )


def test_votes_stay_persisted_while_queries_read_them(spark: SparkSession) -> None:
    annotations = arranged(spark, [("p", "t", "w", "a", "c")])
    votes = counted(annotations).persist()
    majority_vote_labels(votes, 10)
    majority_vote_workers(annotations, votes)
    assert votes.storageLevel.useMemory
    votes.unpersist()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_probabilities_are_those_of_the_first_options(spark: SparkSession, most: int) -> None:
    rows = [("p", "t", str(worker), label, "c") for worker, label in enumerate("aaabbcd")]
    row = majority_vote_labels(counted(arranged(spark, rows)), most).first()
    assert row is not None
    first = list({"a": 3 / 7, "b": 2 / 7, "c": 1 / 7}.items())[:most]
    assert row["probabilities"] == pytest.approx(dict(first))
