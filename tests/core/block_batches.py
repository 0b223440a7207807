"""Batches of one project, and blocks of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crowdfm_core.scoring import AnnotationBatch

__all__ = ["batch_of", "block_of", "name", "rows_of"]


def batch_of(annotations: int, tasks: int, workers: int, options: int) -> AnnotationBatch:
    """One project in which everybody answers, a few workers most."""
    rng = np.random.default_rng(1)
    task = np.concatenate([np.arange(tasks), rng.integers(0, tasks, annotations - tasks)])
    drawn = (workers * rng.random(annotations - workers) ** 2).astype(np.int32)
    return AnnotationBatch(
        task_index=task.astype(np.int32),
        worker_index=np.concatenate([np.arange(workers), drawn]).astype(np.int32),
        option_index=rng.integers(0, options, annotations).astype(np.int32),
        task_project=np.zeros(tasks, np.int32),
        project_ids=["large"],
        num_options=np.array([options], np.int32),
        num_workers=workers,
    )


def block_of(batch: AnnotationBatch, here: np.ndarray) -> tuple[AnnotationBatch, list[str]]:
    """The annotations of some tasks, renumbered, and the names of their workers."""
    rows = np.isin(batch.task_index, here)
    workers, worker = np.unique(batch.worker_index[rows], return_inverse=True)
    part = AnnotationBatch(
        task_index=np.searchsorted(here, batch.task_index[rows]).astype(np.int32),
        worker_index=worker.astype(np.int32),
        option_index=batch.option_index[rows],
        task_project=np.zeros(len(here), np.int32),
        project_ids=batch.project_ids,
        num_options=batch.num_options,
        num_workers=len(workers),
    )
    return part, [name(w) for w in workers]


def name(worker: int) -> str:
    return f"w{worker:06}"


def rows_of(batch: AnnotationBatch, *, block: np.ndarray, blocks: int) -> pa.Table:
    """What a task of Spark gets of a batch; block [E]: that of every annotation.

    Every block gets the project's options, in batches that come after all annotations.
    """
    (project,), (options,) = batch.project_ids, batch.num_options
    listed = np.tile(np.arange(options), blocks)
    answers, none = len(batch.task_index), pa.nulls(len(listed), pa.string())
    return pa.table(
        {
            "batch_index": np.append(block, np.repeat(np.arange(blocks), options)),
            "project_id": [project] * (answers + len(listed)),
            "component_id": pa.chunked_array([["c"] * answers, none]),
            "task_id": pa.chunked_array([[f"t{task}" for task in batch.task_index], none]),
            "worker_id": pa.chunked_array([[f"w{w}" for w in batch.worker_index], none]),
            "option_index": np.append(batch.option_index, listed).astype(np.int32),
            "label": pa.chunked_array(
                [pa.nulls(answers, pa.string()), [f"o{option}" for option in listed]]
            ),
        }
    )
