"""Which workers should answer which tasks next: ranked by compatibility, task by task.

Letters: E annotations, T tasks, W workers, N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.backends.pair_kernels import best_workers
from crowdfm_core.compatibility import PairFactors, probability_of
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph

__all__ = ["Answered", "RankedWorkers", "answered_by", "assign_workers", "rank_workers"]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class RankedWorkers:
    """The best workers of every task, best first; equal ones by worker_index.

    rank counts from 1; compatibility is a probability in [0, 1]. A task has fewer rows than were
    asked for where its component has no more workers who have not answered it.
    """

    task_index: IntArray  # [N] ascending
    rank: IntArray  # [N]
    worker_index: IntArray  # [N]
    compatibility: Floats  # [N]


@dataclass(frozen=True)
class Answered:
    """Who answered which task: worker[start[t]:start[t + 1]] those of task t, as PairFactors
    numbers them."""

    start: IntArray  # [T+1]
    worker: IntArray  # [E]


def answered_by(graph: AnnotationGraph) -> Answered:
    """Who answered the tasks of a graph, as it numbers them."""
    side = graph.tasks
    worker = graph.workers.pair_centre[side.neighbour_pair]
    return Answered(start=side.entry_start[side.pair_start], worker=worker)


def assign_workers(
    rule: AssignmentRule,
    factors: PairFactors,
    answered: Answered,
    probability: npt.NDArray[np.floating[Any]],
) -> RankedWorkers:
    """Rank workers for the tasks that the rule assigns; probability [T]: of the tasks' labels."""
    # Probabilities may exceed 1 by rounding.
    tasks = np.flatnonzero(np.minimum(probability, 1.0) <= rule.max_probability)
    return rank_workers(factors, answered, top=rule.workers_per_task, tasks=tasks)


def rank_workers(
    factors: PairFactors, answered: Answered, *, top: int, tasks: IntArray | None = None
) -> RankedWorkers:
    """The `top` most compatible workers of every task among those who have not answered it.

    tasks: of these alone, ascending. Beside the result a copy of the factors of one component's
    workers is held. Raises ScoringError unless top >= 1.
    """
    if top < 1:
        raise ScoringError(f"expected top >= 1, got {top}")
    if tasks is None:
        tasks = np.arange(len(factors.task))
    chosen = np.full((len(tasks), top), -1, np.int64)
    score = np.empty((len(tasks), top))
    component_of = factors.component_of_task[tasks]
    worker_order = np.argsort(factors.component_of_worker, kind="stable")
    task_order = np.argsort(component_of, kind="stable")
    components = np.unique(component_of)
    worker_start, worker_end = _ranges(factors.component_of_worker[worker_order], components)
    task_start, task_end = _ranges(component_of[task_order], components)
    for number in range(len(components)):
        workers = worker_order[worker_start[number] : worker_end[number]]
        rows = task_order[task_start[number] : task_end[number]]
        own = tasks[rows]
        first, count = answered.start[own], answered.start[own + 1] - answered.start[own]
        done_start = np.concatenate([[0], np.cumsum(count)])
        entry = np.arange(done_start[-1]) + np.repeat(first - done_start[:-1], count)
        best, score[rows] = best_workers(
            factors.task[own],
            np.ascontiguousarray(factors.worker[workers].T),
            workers,
            done_start,
            answered.worker[entry],
            top,
        )
        chosen[rows] = np.where(best >= 0, workers[best], -1) if len(workers) else -1
    place, column = np.nonzero(chosen >= 0)
    return RankedWorkers(
        task_index=tasks[place],
        rank=column + 1,
        worker_index=chosen[place, column],
        compatibility=probability_of(score[place, column]),
    )


def _ranges(ordered: IntArray, values: IntArray) -> tuple[IntArray, IntArray]:
    return np.searchsorted(ordered, values), np.searchsorted(ordered, values, side="right")
