"""Small crowds with known truth, for the tests of their statistics."""

from __future__ import annotations

import numpy as np

from crowdfm_core.simulation_checks.judged import JudgedCrowd

# task, worker, answer; the last task has no truth, and nobody ever answers 2, the truth of task 2.
LITERAL = [
    (0, 0, 1),
    (0, 1, 1),
    (0, 2, 0),
    (1, 0, 0),
    (1, 1, 1),
    (2, 0, 0),
    (3, 0, 1),
    (3, 3, 0),
]


def crowd_of(
    rows: list[tuple[int, int, int]], truth: list[int], known: list[bool], options: int
) -> JudgedCrowd:
    task, worker, answer = np.array(rows).T
    return JudgedCrowd(
        task_index=task,
        worker_index=worker,
        option_index=answer,
        true_option=np.array(truth),
        has_truth=np.array(known),
        num_workers=int(worker.max()) + 1,
        num_options=options,
    )


def literal_crowd() -> JudgedCrowd:
    return crowd_of(LITERAL, [1, 0, -1, -1], [True, True, True, False], 2)


def full_crowd(right: np.ndarray, truth: np.ndarray, options: int, seed: int = 1) -> JudgedCrowd:
    """Everybody answers everything: right with a probability [T, W], else uniformly wrong."""
    rng = np.random.default_rng(seed)
    tasks, workers = right.shape
    task, worker = np.divmod(np.arange(tasks * workers), workers)
    shift = rng.integers(1, options, tasks * workers)
    shift[rng.random(tasks * workers) < right.ravel()] = 0
    return JudgedCrowd(
        task_index=task,
        worker_index=worker,
        option_index=(truth[task] + shift) % options,
        true_option=truth,
        has_truth=np.ones(tasks, bool),
        num_workers=workers,
        num_options=options,
    )


def random_crowd(seed: int, options: int) -> JudgedCrowd:
    rng = np.random.default_rng(seed)
    pairs = [(t, w) for t in range(8) for w in range(6) if rng.random() < 0.7]
    rows = [(t, w, int(rng.integers(options))) for t, w in pairs]
    return crowd_of(rows, rng.integers(0, options, 8).tolist(), [True] * 8, options)
