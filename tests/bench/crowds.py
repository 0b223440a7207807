"""Seeded inputs of the benchmarks. Letters: E annotations, T tasks, W workers, K options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crowdfm_core.scoring import AnnotationBatch
from crowdfm_core.simulation.assignment import assign_sparsely
from crowdfm_core.simulation.item_response import draw_answers

__all__ = ["SENTI", "Crowd", "Sizes", "draw_crowd", "several_projects"]

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Sizes:
    """Sizes of one project; every task has E / T answers, rounded up or down at random."""

    annotations: int
    workers: int
    tasks: int
    options: int

    def scaled(self, annotations: int) -> Sizes:
        """The same means per task and per worker at another number of annotations."""
        factor = annotations / self.annotations
        workers = max(8, round(factor * self.workers))
        return Sizes(annotations, workers, round(factor * self.tasks), self.options)


# The largest public set of the paper, Senti.
SENTI = Sizes(annotations=569_375, workers=1_960, tasks=98_980, options=5)


@dataclass(frozen=True)
class Crowd:
    """Annotations in random order; every task and every worker has at least one."""

    task: IntArray  # [E]
    worker: IntArray  # [E]
    option: IntArray  # [E]
    true_option: IntArray  # [T]
    sizes: Sizes

    def batch(self) -> AnnotationBatch:
        """The crowd as the only project of a batch."""
        return AnnotationBatch(
            task_index=self.task,
            worker_index=self.worker,
            option_index=self.option,
            task_project=np.zeros(self.sizes.tasks, np.int32),
            project_ids=["benchmark"],
            num_options=np.array([self.sizes.options], np.int32),
            num_workers=self.sizes.workers,
        )


def draw_crowd(sizes: Sizes, *, seed: int) -> Crowd:
    """Draw a crowd of exactly these sizes.

    Workers answer in proportion to a log-normal variable (a Gini coefficient of about 0.65, as
    paid crowds have) and are right with a probability of their own, 0.35 to 0.95; wrong answers
    are uniform.
    """
    rng = np.random.default_rng(seed)
    few, extra = divmod(sizes.annotations, sizes.tasks)
    answers = np.full(sizes.tasks, few, np.int32)
    answers[rng.permutation(sizes.tasks)[:extra]] += 1
    propensity = 0.05 + np.exp(rng.normal(0.0, 1.4, sizes.workers))
    task, worker = assign_sparsely(rng, answers, propensity)
    worker = _everybody_answers(task, worker, sizes.workers)
    truth = rng.integers(0, sizes.options, sizes.tasks, dtype=np.int32)
    right = rng.uniform(0.35, 0.95, sizes.workers)[worker]
    option = draw_answers(rng, truth[task], right, sizes.options)
    order = rng.permutation(len(task))
    return Crowd(task[order], worker[order], option[order], truth, sizes)


def several_projects(crowds: list[Crowd]) -> AnnotationBatch:
    """One batch with every crowd as a project of its own."""
    first_task = np.cumsum([0, *(crowd.sizes.tasks for crowd in crowds)])
    first_worker = np.cumsum([0, *(crowd.sizes.workers for crowd in crowds)])

    def joined(name: str, first: npt.NDArray[np.int64]) -> IntArray:
        parts = [getattr(crowd, name) + start for crowd, start in zip(crowds, first, strict=False)]
        return np.concatenate(parts).astype(np.int32)

    return AnnotationBatch(
        task_index=joined("task", first_task),
        worker_index=joined("worker", first_worker),
        option_index=np.concatenate([crowd.option for crowd in crowds]),
        task_project=np.repeat(
            np.arange(len(crowds), dtype=np.int32), [crowd.sizes.tasks for crowd in crowds]
        ),
        project_ids=[f"project {number}" for number in range(len(crowds))],
        num_options=np.array([crowd.sizes.options for crowd in crowds], np.int32),
        num_workers=int(first_worker[-1]),
    )


def _everybody_answers(task: IntArray, worker: IntArray, num_workers: int) -> IntArray:
    """Give workers without any answer one of the busiest worker's."""
    worker = worker.copy()
    loads = np.bincount(worker, minlength=num_workers)
    idle = np.flatnonzero(loads == 0)
    worker[np.flatnonzero(worker == loads.argmax())[: len(idle)]] = idle
    return worker
