"""Blocks of a batch of one project."""

from __future__ import annotations

import numpy as np

from crowdfm_core.scoring import AnnotationBatch

__all__ = ["block_of", "name"]


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
