"""Links workers that share tasks, one chunk of a partition at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from crowdfm_core.union_find import smallest_connected_task
from udfs.groups import ranked, whole_groups

__all__ = ["LINK_SCHEMA", "connect_chunks"]

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


def connect_chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For mapInArrow: rows (project_id, task_id, worker_id, chunk_key), grouped by chunk_key, in;
    rows of LINK_SCHEMA out.

    Chunks are cut only between different values of chunk_key, by which no task may be split. Every
    worker of a chunk comes out once per project, with the smallest task_id (in binary order) of the
    chunk that it is connected to.
    """
    for chunk in whole_groups(batches, ["chunk_key"], min_rows=_CHUNK_ROWS):
        yield from _links(chunk).to_batches(max_chunksize=10_000)


def _links(rows: pa.Table) -> pa.Table:
    projects, project = ranked(rows.column("project_id"))
    tasks, task_rank = ranked(rows.column("task_id"))
    workers, worker_rank = ranked(rows.column("worker_id"))
    # Ids are unique within their project alone. In a project, keys stand in the order of the ids.
    task_key, task = np.unique(project * len(tasks) + task_rank, return_inverse=True)
    worker_key, worker = np.unique(project * len(workers) + worker_rank, return_inverse=True)
    smallest = smallest_connected_task(
        task, worker, num_tasks=len(task_key), num_workers=len(worker_key)
    )
    return pa.Table.from_arrays(
        [
            projects.take(pa.array(worker_key // len(workers))),
            workers.take(pa.array(worker_key % len(workers))),
            tasks.take(pa.array(task_key[smallest] % len(tasks))),
        ],
        schema=_ARROW,
    )
