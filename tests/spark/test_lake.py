"""Simulated lakes in Spark: the same rows in any number of partitions, and three formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from crowdfm_core.errors import InputError
from crowdfm_core.simulation.lake import Lake, LakeSizes, draw_plans
from crowdfm_core.simulation.lake_rows import gold_rows
from jobs.lake import lake_frame, write_lake
from tests.spark.delta_tables import properties_of

LAKE = Lake(draw_plans(LakeSizes(2_000, 12), seed=1), 1)


def test_partitions_leave_no_trace_in_the_rows(spark: SparkSession) -> None:
    one, five = (
        lake_frame(spark, LAKE, "annotations", partitions=number).collect() for number in (1, 5)
    )
    assert sorted(map(str, one)) == sorted(map(str, five))
    assert len(one) > 2_000


def test_lake_is_written_once_and_replaced_on_demand(spark: SparkSession, tmp_path: Path) -> None:
    assert "2,000 annotations of 12 projects" in write_lake(spark, LAKE, tmp_path)
    with pytest.raises(InputError, match=r"annotations.* there already; give --overwrite"):
        write_lake(spark, LAKE, tmp_path)
    other = Lake(draw_plans(LakeSizes(500, 3), seed=1), 1)
    table = f"delta.`{tmp_path}/annotations`"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES (delta.enableChangeDataFeed = false)")
    write_lake(spark, other, tmp_path, overwrite=True)
    assert properties_of(spark, table)["delta.enableChangeDataFeed"] == "true"
    read = spark.read.format("delta").load(f"{tmp_path}/annotations")
    assert read.where("project IS NOT NULL").select("project").distinct().count() == 3


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_other_formats_hold_the_same_gold_labels(
    format: str, spark: SparkSession, tmp_path: Path
) -> None:
    write_lake(spark, LAKE, tmp_path, format=format)  # type: ignore[arg-type]
    read = spark.read.option("header", True).format(format).load(f"{tmp_path}/gold_labels")
    expected = [row for piece in LAKE.pieces() for row in gold_rows(LAKE, piece).to_pylist()]
    assert sorted(tuple(row.asDict().values()) for row in read.collect()) == sorted(
        tuple(row.values()) for row in expected
    )
