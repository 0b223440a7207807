"""Runs a classical method on the projects of a partition: decode, call the core, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdfm_core.method_batches import AggregatedBatch, aggregate_batch
from crowdfm_core.methods.answers import IntArray
from udfs.batch_tables import (
    OUTPUT_ROWS,
    SCORE_SCHEMA,
    DecodedBatch,
    score_table,
    task_rows,
    worker_rows,
)
from udfs.groups import whole_groups

__all__ = ["KNOWN_OPTION", "METHOD_SCHEMA", "aggregate_projects"]

# Of an annotation beside INPUT_COLUMNS: the option_index that is its task's truth, null if unknown.
KNOWN_OPTION = "known_option"

# Grain: one task with a label (worker_id null), one worker (task_id null), or one project (both
# null) with what became of it: iterations, converged, problem (null unless it has no other rows).
METHOD_SCHEMA = (
    f"{SCORE_SCHEMA}, score double, iterations bigint, converged boolean, problem string"
)

_OF_METHODS = (
    pa.field("score", pa.float64()),
    pa.field("iterations", pa.int64()),
    pa.field("converged", pa.bool_()),
    pa.field("problem", pa.string()),
)


def aggregate_projects(
    *, method: str, max_probabilities: int, max_bytes: int, with_gold: bool = False
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow: rows of INPUT_COLUMNS in, rows of METHOD_SCHEMA out.

    Batches hold whole projects; one batch is in memory at a time, and the arrays of one project.
    with_gold: the rows have KNOWN_OPTION, and the method is told.
    """

    def aggregate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numba.set_num_threads(1)  # a task has one core
        for rows in whole_groups(batches, ["batch_index"], min_rows=1):
            decoded = DecodedBatch(rows)
            aggregated = aggregate_batch(
                method,
                decoded.batch,
                max_probabilities=max_probabilities,
                max_bytes=max_bytes,
                gold=_known_options(decoded) if with_gold else None,
            )
            for table in _tables(decoded, aggregated):
                yield from table.to_batches(max_chunksize=OUTPUT_ROWS)

    return aggregate


def _known_options(decoded: DecodedBatch) -> IntArray:
    """The true option_index of every task, -1 where it is unknown, [T]."""
    known = decoded.annotations.column(KNOWN_OPTION).take(pa.array(decoded.task_row))
    options: IntArray = pc.fill_null(known, -1).to_numpy().astype(np.int32)
    return options


def _tables(decoded: DecodedBatch, aggregated: AggregatedBatch) -> Iterator[pa.Table]:
    batch = decoded.batch
    is_good = np.array([fit.problem is None for fit in aggregated.fits])
    task_project = batch.task_project
    tasks = _nan_to_null(task_rows(decoded, aggregated.scored), "probability", "entropy")
    yield _extended(tasks).filter(pa.array(is_good[task_project] & aggregated.has_label))
    workers = _nan_to_null(
        worker_rows(decoded, aggregated.scored), "expected_accuracy", "agreement"
    )
    scores = pa.array(aggregated.worker_score, from_pandas=True)
    yield _extended(workers, score=scores).filter(pa.array(is_good[decoded.worker_project]))
    yield _extended(
        score_table(len(is_good), project_id=pa.array(batch.project_ids, pa.string())),
        iterations=pa.array([fit.iterations for fit in aggregated.fits], pa.int64()),
        converged=pa.array([fit.converged for fit in aggregated.fits], pa.bool_()),
        problem=pa.array([fit.problem for fit in aggregated.fits], pa.string()),
    )


def _extended(table: pa.Table, **columns: pa.Array) -> pa.Table:
    """Append the columns of methods, null where they are not given."""
    for field in _OF_METHODS:
        nothing = pa.nulls(table.num_rows, field.type)
        table = table.append_column(field, columns.get(field.name, nothing))
    return table


def _nan_to_null(table: pa.Table, *names: str) -> pa.Table:
    for name in names:
        column = table.column(name)
        known = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
        table = table.set_column(table.schema.get_field_index(name), name, known)
    return table
