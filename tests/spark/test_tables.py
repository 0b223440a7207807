"""Delta tables: created with constraints, replaced without touching what is equal."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from crowdfm_core.config import OutputConfig
from crowdfm_core.errors import InputError
from jobs.schemas import TABLES
from jobs.tables import Tables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake ` out"  # legal, if unusual


def tables_of(spark: SparkSession, folder: Path, run_id: str) -> Tables:
    return Tables(spark, OutputConfig(path=str(folder)), run_id)


def labels(
    spark: SparkSession, run_id: str, rows: dict[str, tuple[str, float | None]]
) -> DataFrame:
    spec = TABLES["aggregated_labels"]
    schema = ", ".join(f"{column.name} {column.type}" for column in spec.columns)
    values: list[dict[str, Any]] = [
        {
            "project_id": "p",
            "task_id": task,
            "method": "crowdfm",
            "label": label,
            "probability": probability,
            "probabilities": {"option": probability, "other": None},
            "num_annotations": 3,
            "is_tie": False,
            "run_id": run_id,
            "updated_at": datetime(2026, 1, 1),
        }
        for task, (label, probability) in rows.items()
    ]
    ordered = [[value.get(name) for name in spec.column_names] for value in values]
    return spark.createDataFrame(ordered, schema)


def test_replace_rows_touches_only_what_differs(spark: SparkSession, folder: Path) -> None:
    first = tables_of(spark, folder, "run-1")
    first.create_all()
    before = {"same": ("a", 0.9), "changed": ("a", 0.9), "gone": ("a", 0.9), "null": ("a", None)}
    first.replace_rows("aggregated_labels", labels(spark, "run-1", before))
    second = tables_of(spark, folder, "run-2")
    second.create_all()  # does nothing to tables that are there
    after = {"same": ("a", 0.9), "changed": ("b", 0.8), "new": ("a", 0.9), "null": ("a", None)}
    with second.marked_commits():
        second.replace_rows("aggregated_labels", labels(spark, "run-2", after))
    rows = second.read("aggregated_labels").collect()
    assert {row["task_id"]: (row["label"], row["run_id"]) for row in rows} == {
        "same": ("a", "run-1"),
        "changed": ("b", "run-2"),
        "new": ("a", "run-2"),
        "null": ("a", "run-1"),  # null equals null
    }
    history = spark.sql(f"DESCRIBE HISTORY {second.name('aggregated_labels')}").collect()
    newest = max(history, key=lambda commit: int(commit["version"]))
    assert json.loads(newest["userMetadata"]) == {"run_id": "run-2"}
    assert newest["version"] == second.version("aggregated_labels")
    third = tables_of(spark, folder, "run-3")
    third.replace_rows("aggregated_labels", labels(spark, "run-3", after))
    assert third.version("aggregated_labels") == newest["version"]  # equal rows: no commit


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"t": ("a", 1.5)}, "probability_in_unit_interval"),
        ({"t": (None, 0.5)}, "(?i)not.?null.*label"),
    ],
)
def test_row_that_breaks_a_constraint_is_refused(
    spark: SparkSession, folder: Path, rows: dict[str, Any], message: str
) -> None:
    tables = tables_of(spark, folder, "run-1")
    tables.create_all()
    good = labels(spark, "run-1", {"good": ("a", 0.5)})
    tables.replace_rows("aggregated_labels", good)
    with pytest.raises(Exception, match=message):
        tables.replace_rows(
            "aggregated_labels", labels(spark, "run-2", {"good": ("a", 0.5)} | rows)
        )
    assert tables.read("aggregated_labels").count() == 1


def test_output_that_cannot_be_written_is_named(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(InputError, match=r"output delta.*file/out/annotations.*cannot be created"):
        tables_of(spark, file / "out", "run-1").create_all()


def test_every_column_has_a_comment_and_every_key_is_required() -> None:
    for table in TABLES.values():
        assert all(column.comment for column in table.columns)
        required = {column.name for column in table.columns if column.required}
        assert set(table.key) <= required, table.name
