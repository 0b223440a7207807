"""Known truth: one row per task, and every row that is not used with its reasons."""

from __future__ import annotations

from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from crowdfm_core.config import GoldColumns, GoldConfig
from crowdfm_core.errors import InputError
from jobs.inputs import read_rows
from jobs.steps.gold import GOLD_SCHEMA, gold_labels, rejected_gold

RAW_SCHEMA = f"{GOLD_SCHEMA}, read_problem string"


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
    expected = [("p", "t1", "a"), ("p", "t2", "a"), ("q", "t3", "b")]
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
        ("p", "t1", "1")
    ]
    with pytest.raises(InputError, match=r"gold .*gold\.columns\.true_label: no column 'trut'"):
        read_rows(
            spark,
            GoldConfig(path=str(tmp_path), format="csv", columns=GoldColumns(true_label="trut")),
        )
