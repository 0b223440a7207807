"""Drawing each task's workers without replacement, also where tasks times workers is too much.

Letters: E annotations, T tasks, W workers.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.pieces import Places
from crowdfm_core.simulation.sizes import assign_workers

__all__ = ["assign_sparsely"]

_DENSE_WORKERS_PER_ANSWER = 10  # up to here a [T, W] matrix of clocks is faster
_ROUNDS = 6
_MAX_CELLS = 4_000_000


def assign_sparsely(
    rng: np.random.Generator, answers_per_task: IntArray, propensity: FloatArray
) -> tuple[IntArray, IntArray]:
    """Draw each task's workers without replacement, in proportion to `propensity` [W] > 0.

    The same distribution as `assign_workers`, in time and memory of the answers. Each task draws
    workers with replacement and keeps the first `answers_per_task` [T] different ones; tasks that
    lack some after a few rounds (a few workers of nearly all propensity) draw the rest by clocks.
    Returns task_index and worker_index, both [E], ordered by task.
    """
    num_tasks, num_workers = len(answers_per_task), len(propensity)
    wanted = answers_per_task.astype(np.int64)
    if num_workers <= _DENSE_WORKERS_PER_ANSWER * wanted.mean():
        return assign_workers(rng, answers_per_task, propensity)

    steps = np.cumsum(propensity)
    steps /= steps[-1]
    # Answers of the tasks that still lack workers, in order of arrival.
    task: Places = np.empty(0, np.int64)
    worker: Places = np.empty(0, np.int64)
    lacking = wanted.copy()
    done_task, done_worker = [], []
    for number in range(_ROUNDS):
        # Ever more draws: who still lacks workers is likely to draw those again that it has.
        draws = np.where(lacking > 0, (lacking + lacking // 4 + 1) << number, 0)
        new_task = np.repeat(np.arange(num_tasks), draws)
        new_worker = np.searchsorted(steps, rng.random(len(new_task)), side="right")
        task = np.concatenate([task, new_task])
        worker = np.concatenate([worker, np.minimum(new_worker, num_workers - 1)])
        task, worker = _first_different(task, worker, wanted, num_workers)
        lacking = np.where(lacking > 0, wanted - np.bincount(task, minlength=num_tasks), 0)
        full = lacking[task] == 0
        done_task.append(task[full])
        done_worker.append(worker[full])
        task, worker = task[~full], worker[~full]
        if not len(task):
            break
    else:
        for part_task, part_worker in _rest_by_clocks(rng, task, worker, wanted, propensity):
            done_task.append(part_task)
            done_worker.append(part_worker)
    task, worker = np.concatenate(done_task), np.concatenate(done_worker)
    order = np.argsort(task, kind="stable")
    return task[order].astype(np.int32), worker[order].astype(np.int32)


def _first_different(
    task: Places, worker: Places, wanted: Places, num_workers: int
) -> tuple[Places, Places]:
    """Keep, in order of arrival, the first `wanted` different workers of each task."""
    _, first = np.unique(task.astype(np.int64) * num_workers + worker, return_index=True)
    first.sort()
    first = first[np.argsort(task[first], kind="stable")]
    task, worker = task[first], worker[first]
    counts = np.bincount(task, minlength=len(wanted))
    rank = np.arange(len(task)) - (np.cumsum(counts) - counts)[task]
    kept = rank < wanted[task]
    return task[kept], worker[kept]


def _rest_by_clocks(
    rng: np.random.Generator,
    task: Places,
    worker: Places,
    wanted: Places,
    propensity: FloatArray,
) -> list[tuple[Places, Places]]:
    """Complete tasks by exponential clocks, as `assign_workers` does; who is in stays in."""
    names, row = np.unique(task, return_inverse=True)
    found: list[tuple[Places, Places]] = []
    chunk = max(1, _MAX_CELLS // len(propensity))
    for start in range(0, len(names), chunk):
        part = names[start : start + chunk]
        clock = rng.standard_exponential((len(part), len(propensity))) / propensity
        inside = (row >= start) & (row < start + chunk)
        clock[row[inside] - start, worker[inside]] = -1.0
        most = int(wanted[part].max())
        if most < len(propensity):
            first = np.argpartition(clock, most, axis=1)[:, :most]
        else:
            first = np.broadcast_to(np.arange(most), clock.shape)
        order = np.argsort(np.take_along_axis(clock, first, axis=1), axis=1)
        order = np.take_along_axis(first, order, axis=1)
        taken = np.arange(most) < wanted[part][:, None]
        found.append((np.repeat(part, wanted[part]), order[taken]))
    return found
