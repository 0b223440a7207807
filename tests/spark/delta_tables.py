"""Delta tables for tests: those of a run, its settings, and an input with a change data feed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import DataFrame, SparkSession

from crowdfm_core.config import JobConfig, OutputConfig, load_config
from jobs.schemas import TABLES
from jobs.tables import Tables

INPUT = "project string, task string, worker string, label string"


def tables_of(spark: SparkSession, folder: Path, run_id: str) -> Tables:
    """The tables under a folder, as the run sees them."""
    return Tables(spark, OutputConfig(path=str(folder)), run_id)


def config_of(lake: Path, settings: Mapping[str, Any]) -> JobConfig:
    """The configuration that a file with these settings gives."""
    path = lake / "job.yaml"
    path.write_text(yaml.safe_dump(dict(settings)))
    return load_config(path)


def table(spark: SparkSession, lake: Path, name: str) -> Any:
    """A table of a run that writes to the folder "out"."""
    return spark.read.format("delta").load(str(lake / "out" / name))


def assigned(spark: SparkSession, lake: Path) -> dict[tuple[str, str], dict[str, str]]:
    """By project and task: the workers that `assignments` names, and the run that wrote them."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in table(spark, lake, "assignments").orderBy("project_id", "task_id", "rank").collect():
        workers = found.setdefault((row["project_id"], row["task_id"]), {})
        workers[row["worker_id"]] = row["run_id"]
        assert row["rank"] == len(workers)
        assert 0 < row["compatibility"] < 1
    return found


def properties_of(spark: SparkSession, name: str) -> dict[str, str]:
    """The properties of the table that SQL calls so."""
    shown = spark.sql(f"SHOW TBLPROPERTIES {name}").collect()
    return {row["key"]: row["value"] for row in shown}


def create_input(spark: SparkSession, folder: Path) -> None:
    """A table of answers with a change data feed."""
    spark.sql(
        f"CREATE TABLE delta.`{folder}/in` ({INPUT}) USING delta "
        "TBLPROPERTIES (delta.enableChangeDataFeed = true)"
    )


def insert(spark: SparkSession, folder: Path, rows: list[tuple[str | None, ...]]) -> None:
    frame = spark.createDataFrame(rows, INPUT)
    frame.write.format("delta").mode("append").save(str(folder / "in"))


def replace_labels(tables: Tables, rows: DataFrame) -> None:
    """Have a run replace the rows of aggregated_labels."""
    with tables.marked_commits():
        tables.replace_rows("aggregated_labels", rows)


def labels(
    spark: SparkSession, run_id: str, rows: Mapping[str, tuple[str | None, float | None]]
) -> DataFrame:
    """Rows of aggregated_labels; rows: task_id -> label and its probability."""
    spec = TABLES["aggregated_labels"]
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
    return spark.createDataFrame(ordered, spec.schema)
