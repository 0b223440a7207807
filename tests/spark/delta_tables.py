"""Delta tables for tests: those of a run, and an input with a change data feed."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from crowdfm_core.config import OutputConfig
from jobs.tables import Tables

INPUT = "project string, task string, worker string, label string"


def tables_of(spark: SparkSession, folder: Path, run_id: str) -> Tables:
    """The tables under a folder, as the run sees them."""
    return Tables(spark, OutputConfig(path=str(folder)), run_id)


def create_input(spark: SparkSession, folder: Path) -> None:
    """A table of answers with a change data feed."""
    spark.sql(
        f"CREATE TABLE delta.`{folder}/in` ({INPUT}) USING delta "
        "TBLPROPERTIES (delta.enableChangeDataFeed = true)"
    )


def insert(spark: SparkSession, folder: Path, rows: list[tuple[str | None, ...]]) -> None:
    frame = spark.createDataFrame(rows, INPUT)
    frame.write.format("delta").mode("append").save(str(folder / "in"))
