"""Union-find over task-worker edges: literal shapes, and scipy as the second route."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from crowdfm_core.union_find import smallest_connected_task


def test_worker_without_an_edge_stays_alone() -> None:
    roots = smallest_connected_task(np.array([2, 1]), np.array([0, 0]), num_tasks=3, num_workers=2)
    assert roots.tolist() == [1, 4]  # 3 tasks, so that worker 1 is node 4


def test_long_chain_in_the_worst_order() -> None:
    """Every edge joins a smaller root to all that came before."""
    tasks = np.arange(50_000)[::-1]
    edges_task = np.concatenate([tasks, tasks[:-1] - 1])
    edges_worker = np.concatenate([tasks, tasks[:-1]])
    roots = smallest_connected_task(edges_task, edges_worker, num_tasks=50_000, num_workers=50_000)
    assert not roots.any()


@settings(max_examples=200)
@given(
    st.integers(1, 12),
    st.integers(1, 8),
    st.integers(0, 25),
    st.integers(0, 2**32 - 1),
)
def test_random_graphs_equal_scipy(tasks: int, workers: int, edges: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    task, worker = rng.integers(0, tasks, edges), rng.integers(0, workers, edges)
    roots = smallest_connected_task(task, worker, num_tasks=tasks, num_workers=workers)
    nodes = tasks + workers
    matrix = coo_matrix((np.ones(edges), (task, worker + tasks)), shape=(nodes, nodes))
    _, part = connected_components(matrix, directed=False)
    expected = [int(np.flatnonzero(part == part[tasks + w])[0]) for w in range(workers)]
    assert roots.tolist() == expected
