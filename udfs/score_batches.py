"""Scores batch after batch of a partition: decode, call the core, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from udfs.batch_tables import OUTPUT_ROWS, DecodedBatch, task_rows, worker_rows
from udfs.groups import whole_groups
from udfs.runtime import scorer_for, task_device

__all__ = ["score_batches"]


def score_batches(
    *,
    weights: str,
    weights_sha256: str,
    device: str,
    num_draws: int,
    max_probabilities: int,
    max_bytes: int,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow: rows of INPUT_COLUMNS in, rows of SCORE_SCHEMA out.

    A batch may be spread over many record batches; one batch is in memory at a time.
    """

    def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = scorer_for(
            weights, weights_sha256, task_device(device), num_draws, max_probabilities, max_bytes
        )
        for rows in whole_groups(batches, ["batch_index"], min_rows=1):
            decoded = DecodedBatch(rows)
            scored = scorer.score(decoded.batch)
            for table in (task_rows(decoded, scored), worker_rows(decoded, scored)):
                yield from table.to_batches(max_chunksize=OUTPUT_ROWS)

    return score
