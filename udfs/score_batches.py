"""Scores batch after batch of a partition: decode, call the core, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.scoring import Scorer
from udfs.batch_tables import OUTPUT_ROWS, DecodedBatch, halves, task_rows, worker_rows
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
    assignments: AssignmentRule | None = None,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow: rows of INPUT_COLUMNS in, rows of SCORE_SCHEMA out.

    A batch may be spread over many record batches; one batch is in memory at a time. One that
    needs more than max_bytes is scored in parts, as far as it has several components. assignments:
    which tasks to assign to workers; without it `assigned` is null.
    """

    def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = scorer_for(
            weights,
            weights_sha256,
            task_device(device),
            num_draws,
            max_probabilities,
            max_bytes,
            assignments,
        )
        for rows in whole_groups(batches, ["batch_index"], min_rows=1):
            for table in _score(scorer, rows):
                yield from table.to_batches(max_chunksize=OUTPUT_ROWS)

    return score


def _score(scorer: Scorer, rows: pa.Table) -> Iterator[pa.Table]:
    decoded = DecodedBatch(rows)
    try:
        scored = scorer.score(decoded.batch)
    except MemoryBudgetError:
        parts = halves(rows)
        if len(parts) == 1:
            raise
    else:
        yield task_rows(decoded, scored)
        yield worker_rows(decoded, scored)
        return
    # Not while the error is handled: it holds on to the graph of the whole batch.
    del decoded, rows
    for part in parts:
        yield from _score(scorer, part)
