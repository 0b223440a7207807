"""Queries, one result and one grain per file; frames and values are passed by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.spark_settings import settings_of

__all__ = ["run_sql"]

# LEGACY puts common table expressions where they are named. Otherwise Spark numbers them through
# the whole plan, and does not find a persisted frame again in a plan that has others before it.
_INLINE = "spark.sql.legacy.ctePrecedencePolicy"


def run_sql(
    name: str, values: Mapping[str, int | float | str] | None = None, **frames: DataFrame
) -> DataFrame:
    """Run jobs/sql/NAME.sql over `frames` and `values`, {name} each in the text.

    Spark's own formatter makes literals of the values: its named parameters do not get through the
    parser of Delta's session extension.
    """
    spark = next(iter(frames.values())).sparkSession
    # Spark makes a view of each frame and drops it, and a frame whose view is dropped is no longer
    # persisted: a filter that keeps all rows takes its place.
    views = {key: frame.where(F.lit(True)) for key, frame in frames.items()}
    named: dict[str, Any] = {**views, **(values or {})}
    with settings_of(spark, {_INLINE: "LEGACY"}):
        return spark.sql(_text(name), **named)


@cache
def _text(name: str) -> str:
    return files("jobs.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
