"""Known truth: one row per task, and every row that is not used with its reasons."""

from __future__ import annotations

from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from crowdfm_core.config import GoldColumns, GoldConfig, InputConfig, JobConfig, OutputConfig
from crowdfm_core.errors import InputError
from jobs.inputs import read_rows
from jobs.steps.gold import (
    GOLD_SCHEMA,
    add_known_options,
    gold_labels,
    methods_with_gold,
    rejected_gold,
)

RAW_SCHEMA = "project_id string, task_id string, true_label string, read_problem string"


def test_every_row_is_used_or_has_its_reasons(spark: SparkSession) -> None:
    raw = spark.createDataFrame(
        [
            ("p", "t1", "a", None),
            ("p", "t2", "a", None),  # said twice, alike
            ("p", "t2", "a", None),
            ("p", "t3", "a", None),  # said twice, differently: nobody knows
            ("p", "t3", "b", None),
            ("q", "t3", "b", None),  # the same task_id in another project
            ("p", "t4", " ", None),
            ("p", None, None, None),
            ("p", "t5", "x" * 1025, None),
            (None, None, None, "malformed_row"),
        ],
        RAW_SCHEMA,
    )
    expected = [("p", "t1", "a", True), ("p", "t2", "a", True), ("q", "t3", "b", True)]
    assert_df_equality(
        gold_labels(raw), spark.createDataFrame(expected, GOLD_SCHEMA), ignore_row_order=True
    )
    rejected = rejected_gold(raw).select("task_id", "reasons").collect()
    assert sorted((str(row.task_id), row.reasons) for row in rejected) == [
        ("None", ["malformed_row"]),
        ("None", ["missing_task_id", "missing_true_label"]),
        ("t3", ["conflicting_true_labels"]),
        ("t3", ["conflicting_true_labels"]),
        ("t4", ["missing_true_label"]),
        ("t5", ["true_label_too_long"]),
    ]


def test_gold_is_read_as_annotations_are(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "gold.csv").write_text("task,truth\nt1,1\nt2,2,too,many\n")
    columns = GoldColumns(true_label="truth")
    config = GoldConfig(path=str(tmp_path), format="csv", columns=columns, default_project="p")
    assert [tuple(row) for row in gold_labels(read_rows(spark, config)).collect()] == [
        ("p", "t1", "1", True)
    ]
    with pytest.raises(InputError, match=r"gold .*gold\.columns\.true_label: no column 'trut'"):
        read_rows(
            spark,
            GoldConfig(path=str(tmp_path), format="csv", columns=GoldColumns(true_label="trut")),
        )


def test_about_the_share_held_out_is_not_given_and_always_the_same(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("p", f"t{i}", "a", None) for i in range(1000)], RAW_SCHEMA)

    def given(held_out: float, partitions: int) -> set[str]:
        labels = gold_labels(raw.repartition(partitions), held_out=held_out)
        assert labels.count() == 1000
        return {row["task_id"] for row in labels.where("is_given").collect()}

    third = given(2 / 3, 1)
    assert third == given(2 / 3, 3)
    assert 280 < len(third) < 390  # 333 expected, with a deviation of 15
    assert third < given(0.5, 1)  # who holds out less only gives more
    assert (len(given(0.0, 1)), len(given(1.0, 1))) == (1000, 0)


def test_truth_becomes_an_option_of_the_project(spark: SparkSession) -> None:
    annotations = spark.createDataFrame(
        [
            ("p", "known", "w1", "a"),
            ("p", "known", "w2", "b"),
            ("p", "held", "w1", "a"),
            ("p", "new", "w1", "b"),
            ("p", "none", "w1", "b"),
            ("q", "known", "w1", "b"),
        ],
        "project_id string, task_id string, worker_id string, label string",
    )
    options = spark.createDataFrame(
        [("p", "a", 0), ("p", "b", 1), ("q", "b", 0)],
        "project_id string, label string, option_index int",
    )
    gold = spark.createDataFrame(
        [
            ("p", "known", "b", True),
            ("p", "held", "b", False),
            ("p", "new", "c", True),  # an option that nobody answered
            ("p", "unanswered", "b", True),
        ],
        GOLD_SCHEMA,
    )
    found = add_known_options(annotations, options, gold)
    known = {("p", "known"): 1}
    expected = [(*row, known.get((row[0], row[1]))) for row in annotations.collect()]
    schema = "project_id string, task_id string, worker_id string, label string, known_option int"
    assert_df_equality(
        found.select("project_id", "task_id", "worker_id", "label", "known_option"),
        spark.createDataFrame(expected, schema),
        ignore_row_order=True,
    )


@pytest.mark.parametrize(
    ("gold", "expected"),
    [
        (None, []),
        (GoldConfig(path="g"), ["gold_majority_vote"]),
        (GoldConfig(path="g", pin_posteriors=True), ["gold_majority_vote", "mace"]),
    ],
)
def test_gold_is_given_to_methods_that_need_it_and_else_as_an_option(
    gold: GoldConfig | None, expected: list[str]
) -> None:
    config = JobConfig(
        InputConfig(path="in"),
        OutputConfig(path="out"),
        gold=gold,
        methods=("crowdfm", "majority_vote", "gold_majority_vote", "mace", "wawa"),
    )
    assert methods_with_gold(config) == expected
