"""Joins that move the small side only."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

__all__ = ["small"]

# A frame of at most so many rows is sent whole to every executor, instead of moving annotations.
_BROADCAST_ROWS = 1_000_000


def small(frame: DataFrame, rows: int) -> DataFrame:
    """Have a frame of at most so many rows sent to every executor, if that is few enough."""
    return F.broadcast(frame) if rows <= _BROADCAST_ROWS else frame
