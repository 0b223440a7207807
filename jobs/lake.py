"""Writes a simulated lake: the tables annotations and gold_labels, as Delta, Parquet or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pyspark.sql import DataFrame, SparkSession

from crowdfm_core.errors import InputError
from crowdfm_core.simulation.lake import Lake
from jobs.tables import write_new_table
from udfs.draw_lake import LAKE_TABLES, LakeTable, draw_pieces

__all__ = ["LakeFormat", "lake_frame", "write_lake"]

LakeFormat = Literal["delta", "parquet", "csv"]

_ANNOTATIONS_PER_FILE = 1_000_000  # some 30 MB


def lake_frame(spark: SparkSession, lake: Lake, table: LakeTable, *, partitions: int) -> DataFrame:
    """Return one table of the lake, every column text; `partitions` leaves no trace in its rows.

    annotations: project, task, worker, label, answered_at; grain: one answer as it came, bad and
    repeated ones included. gold_labels: project, task, true_label; grain: one task with known
    truth.
    """
    numbers = spark.range(0, len(lake.pieces()), 1, partitions)
    return numbers.mapInArrow(draw_pieces(lake, table), LAKE_TABLES[table])


def write_lake(
    spark: SparkSession,
    lake: Lake,
    out: Path,
    *,
    format: LakeFormat = "delta",
    overwrite: bool = False,
) -> str:
    """Write the folders `annotations` and `gold_labels` under `out`; returns what was written.

    Raises InputError when one of them is there already and `overwrite` is false.
    """
    paths: dict[LakeTable, Path] = {name: out / name for name in LAKE_TABLES}
    there = [str(path) for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise InputError(f"{' and '.join(there)}: there already; give --overwrite to replace")
    partitions = max(1, round(lake.num_annotations / _ANNOTATIONS_PER_FILE))
    partitions = max(partitions, spark.sparkContext.defaultParallelism)  # no core idles
    for name, path in paths.items():
        rows = lake_frame(spark, lake, name, partitions=partitions)
        if format == "delta":
            write_new_table(rows, path)
        else:
            rows.write.mode("overwrite").option("header", True).format(format).save(str(path))
    return (
        f"{out}: {lake.num_annotations:,} annotations of {lake.num_projects:,} projects, with "
        "repeated and bad rows beside them, and known truth"
    )
