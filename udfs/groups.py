"""Groups in record batches: cuts at their borders, which Spark's batches ignore, and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["changes", "gathered_groups", "ranked", "whole_groups"]


def whole_groups(
    batches: Iterable[pa.RecordBatch], key: Sequence[str], *, min_rows: int
) -> Iterator[pa.Table]:
    """Yield tables of at least `min_rows` rows (the last may have fewer) that split no group.

    batches: sorted by, or at least grouped by, the `key` columns. With min_rows=1 every table is
    exactly one group.
    """
    pending: list[pa.RecordBatch] = []
    pending_rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        borders = np.flatnonzero(changes(batch, key))
        if pending and _last_key(pending[-1], key) == _first_key(batch, key):
            borders = borders[1:]
        start = 0
        while True:
            at = np.searchsorted(borders, start + max(min_rows - pending_rows, 0 if pending else 1))
            if at == len(borders):
                break
            end = int(borders[at])
            if end > start:
                pending.append(batch.slice(start, end - start))
            yield pa.Table.from_batches(pending)
            pending, pending_rows, start = [], 0, end
        pending.append(batch.slice(start))
        pending_rows += batch.num_rows - start
    if pending:
        yield pa.Table.from_batches(pending)


def gathered_groups(batches: Iterable[pa.RecordBatch], key: str) -> dict[Any, list[pa.RecordBatch]]:
    """Return all rows by the value of a column, in whatever order they come.

    Rows are copied, so that the memory of every group can be let go by itself.
    """
    groups: dict[Any, list[pa.RecordBatch]] = {}
    for batch in batches:
        values = batch.column(key)
        for value in pc.unique(values):
            group = batch.filter(pc.equal(values, value))
            groups.setdefault(value.as_py(), []).append(group)
    return groups


def changes(rows: pa.RecordBatch | pa.Table, key: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Mark the rows whose key differs from that of the row before, bool [N]; the first is."""
    marks = np.zeros(rows.num_rows, bool)
    marks[:1] = True
    for name in key:
        column = rows.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        differs = pc.not_equal(column.slice(1), column.slice(0, max(len(column) - 1, 0)))
        marks[1:] |= differs.to_numpy(zero_copy_only=False)
    return marks


def ranked(column: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return the distinct strings in binary order, and the place of every row's among them, [N]."""
    encoded = column.combine_chunks().dictionary_encode()
    in_order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(in_order), np.int64)
    rank[in_order.to_numpy()] = np.arange(len(in_order))
    return encoded.dictionary.take(in_order), rank[encoded.indices.to_numpy()]


def _first_key(batch: pa.RecordBatch, key: Sequence[str]) -> list[object]:
    return [batch.column(name)[0].as_py() for name in key]


def _last_key(batch: pa.RecordBatch, key: Sequence[str]) -> list[object]:
    return [batch.column(name)[batch.num_rows - 1].as_py() for name in key]
