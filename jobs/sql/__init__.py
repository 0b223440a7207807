"""Queries, one result and one grain per file; frames and values are passed by name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from pyspark.sql import DataFrame

__all__ = ["run_sql"]


def run_sql(name: str, args: dict[str, Any] | None = None, **frames: DataFrame) -> DataFrame:
    """Run jobs/sql/NAME.sql over `frames` ({name} in the text) and values (:name)."""
    spark = next(iter(frames.values())).sparkSession
    return spark.sql(_text(name), args or {}, **frames)


@cache
def _text(name: str) -> str:
    return files("jobs.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
