"""Draws pieces of a simulated lake in Spark: numbers of pieces in, rows as text out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import pyarrow as pa

from crowdfm_core.simulation.lake import Lake
from crowdfm_core.simulation.lake_rows import (
    ANNOTATION_COLUMNS,
    GOLD_COLUMNS,
    annotation_rows,
    gold_rows,
)

__all__ = ["LAKE_TABLES", "LakeTable", "draw_pieces"]

LakeTable = Literal["annotations", "gold_labels"]

_ROWS = 50_000  # that are handed to Spark at once; many pieces are much smaller
_DRAWN = {"annotations": annotation_rows, "gold_labels": gold_rows}

LAKE_TABLES: dict[LakeTable, str] = {
    "annotations": ", ".join(f"`{name}` string" for name in ANNOTATION_COLUMNS),
    "gold_labels": ", ".join(f"`{name}` string" for name in GOLD_COLUMNS),
}


def draw_pieces(
    lake: Lake, table: LakeTable
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow: rows (id) in, the rows of these pieces of the lake out.

    id is the place of a piece in `lake.pieces()`. One piece is in memory at a time.
    """

    def draw(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pieces = lake.pieces()
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            for place in batch.column("id").to_pylist():
                waiting.append(_DRAWN[table](lake, pieces[place]))
                if sum(rows.num_rows for rows in waiting) >= _ROWS:
                    yield from _merged(waiting)
                    waiting = []
        yield from _merged(waiting)

    return draw


def _merged(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at most _ROWS."""
    if batches:
        table = pa.Table.from_batches(batches).combine_chunks()
        yield from table.to_batches(max_chunksize=_ROWS)
