"""Connected components of task-worker edges, as arrays."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["smallest_connected_task"]

IntArray = npt.NDArray[np.integer[Any]]


def smallest_connected_task(
    task: IntArray, worker: IntArray, *, num_tasks: int, num_workers: int
) -> IntArray:
    """Return for every worker the smallest task index in its component, int [W].

    task, worker: the edges, int [E]. Workers without an edge get num_tasks + their own index.
    """
    roots: IntArray = _roots(
        np.asarray(task, np.int64), np.asarray(worker, np.int64), num_tasks, num_workers
    )
    return roots[num_tasks:]


@numba.njit(cache=True)
def _roots(
    task: IntArray, worker: IntArray, num_tasks: int, num_workers: int
) -> IntArray:  # pragma: no cover
    """Union-find with path halving; the smaller root wins, so that tasks come before workers."""
    parent = np.arange(num_tasks + num_workers)
    for edge in range(len(task)):
        left, right = task[edge], num_tasks + worker[edge]
        while parent[left] != left:
            parent[left] = parent[parent[left]]
            left = parent[left]
        while parent[right] != right:
            parent[right] = parent[parent[right]]
            right = parent[right]
        if left < right:
            parent[right] = left
        else:
            parent[left] = right
    for node in range(len(parent)):
        # Parents are smaller than their children, so they are settled first.
        parent[node] = parent[parent[node]]
    return parent
