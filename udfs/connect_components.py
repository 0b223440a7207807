"""Links workers that share tasks, one chunk of a partition at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdfm_core.union_find import smallest_connected_task
from udfs.groups import changes, whole_groups

__all__ = ["LINK_SCHEMA", "connect_within"]

# Grain: one worker of a project and one linked part of the chunk it was seen in.
LINK_SCHEMA = "project_id string, worker_id string, smallest_task_id string"

# Bounds the memory of a Python worker; larger chunks leave fewer links to join afterwards.
_CHUNK_ROWS = 1_000_000

_ARROW = pa.schema(
    [
        pa.field("project_id", pa.string()),
        pa.field("worker_id", pa.string()),
        pa.field("smallest_task_id", pa.string()),
    ]
)


def connect_within(
    *unsplit: str,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow over rows (project_id, task_id, worker_id).

    Rows come sorted by project_id, task_id in binary order. Chunks are cut only between different
    values of the `unsplit` columns. Every worker of a chunk comes out once per project, with the
    smallest task_id of the chunk that it is connected to.
    """

    def connect(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in whole_groups(batches, unsplit, min_rows=_CHUNK_ROWS):
            yield from _links(chunk).to_batches(max_chunksize=10_000)

    return connect


def _links(chunk: pa.Table) -> pa.Table:
    rows = chunk.combine_chunks()
    new_project = changes(rows, ["project_id"])
    new_task = new_project | changes(rows, ["task_id"])
    project, task = np.cumsum(new_project) - 1, np.cumsum(new_task) - 1
    codes = rows.column("worker_id").combine_chunks().dictionary_encode()
    code = codes.indices.to_numpy().astype(np.int64)
    pair = project.astype(np.int64) * len(codes.dictionary) + code
    _, first_row, worker = np.unique(pair, return_index=True, return_inverse=True)
    smallest = smallest_connected_task(
        task, worker, num_tasks=int(task[-1]) + 1, num_workers=len(first_row)
    )
    task_row = np.flatnonzero(new_task)[smallest]
    return pa.Table.from_arrays(
        [
            pc.take(rows.column("project_id"), first_row),
            pc.take(rows.column("worker_id"), first_row),
            pc.take(rows.column("task_id"), task_row),
        ],
        schema=_ARROW,
    )
