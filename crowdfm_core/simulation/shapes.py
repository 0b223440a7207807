"""Who answers what in rich crowds and pure worlds: graphs of every shape, up to real sizes.

Letters: E annotations, T tasks, W workers, K options, B batches of tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import ClassVar

import numpy as np

from crowdfm_core.simulation.assignment import assign_sparsely
from crowdfm_core.simulation.crowd import FloatArray, IntArray, compacted
from crowdfm_core.simulation.pieces import Checked, Piece, Places, Range, log_uniform

__all__ = ["DrawnShape", "Shape", "TaskBatches", "UnevenLoads", "UnevenRedundancy"]

_HUGE = float(10**9)


@dataclass(frozen=True)
class DrawnShape:
    """The graph of one crowd, ordered by task; nobody is isolated and no pair repeats."""

    task_index: IntArray  # [E]
    worker_index: IntArray  # [E]
    num_tasks: int
    num_workers: int
    num_options: int


@dataclass(frozen=True)
class UnevenRedundancy(Piece):
    """Tasks with different numbers of answers; off: all tasks have the same number.

    The number is Poisson around the crowd's mean times a gamma variable of mean 1 whose
    coefficient of variation is drawn from `variation` (0 is Poisson itself); at least 1.
    """

    probability: float = 0.6
    variation: Range = (0.0, 0.8)
    bounds: ClassVar[dict[str, Range]] = {"variation": (0.0, 5.0)}

    def sample(self, rng: np.random.Generator, mean: float, number: int) -> IntArray:
        """Draw the number of answers >= 1 of `number` tasks (or batches)."""
        if not self.is_on(rng):
            return np.full(number, max(1, round(mean)), np.int32)
        variation = rng.uniform(*self.variation)
        rate: FloatArray = np.full(number, mean)
        if variation > 0.01:
            rate = mean * rng.gamma(variation**-2, variation**2, number)
        return np.maximum(rng.poisson(rate), 1).astype(np.int32)


@dataclass(frozen=True)
class UnevenLoads(Piece):
    """Workers who answer in proportion to a heavy-tailed variable; off: all alike.

    Half of the crowds have a Pareto law of an exponent from `pareto_exponent` (small is heavy),
    the others a log-normal law with a spread from `log_spread`. The twelve public sets have loads
    with a Gini coefficient of 0 (everybody answers everything) or 0.5 to 0.84.
    """

    probability: float = 0.9
    pareto_exponent: Range = (0.5, 1.6)
    log_spread: Range = (0.7, 3.0)
    bounds: ClassVar[dict[str, Range]] = {"pareto_exponent": (0.1, 100.0), "log_spread": (0.0, 5.0)}

    def sample(self, rng: np.random.Generator, number: int) -> FloatArray:
        """Draw propensities [W] > 0."""
        if not self.is_on(rng):
            return np.ones(number)
        if rng.random() < 0.5:
            return np.asarray(1.0 + rng.pareto(rng.uniform(*self.pareto_exponent), number))
        return np.exp(rng.normal(0.0, rng.uniform(*self.log_spread), number))


@dataclass(frozen=True)
class TaskBatches(Piece):
    """Tasks handed out in batches, as on crowdsourcing markets: the same workers answer all
    tasks of a batch, of a size from `tasks` (log-uniform); off: every task for itself."""

    probability: float = 0.3
    tasks: tuple[int, int] = (2, 30)
    bounds: ClassVar[dict[str, Range]] = {"tasks": (1, 10_000)}

    def sample(self, rng: np.random.Generator, num_tasks: int) -> int:
        """Draw the number of tasks of a batch, at most a fifth of all."""
        size = round(log_uniform(rng, self.tasks)) if self.is_on(rng) else 1
        return max(1, min(size, num_tasks // 5))


@dataclass(frozen=True)
class Shape(Checked):
    """Sizes of a crowd and its graph.

    Drawn log-uniformly: annotations E, mean answers per task n, mean answers per worker. Then
    T = E / n and W = E / (answers per worker), with at least `fewest_tasks` and `fewest_workers`
    and never fewer workers than n. So a low load and a high n give dense tasks with sparse
    workers, and a load above T gives a crowd where everybody answers nearly everything.

    K is 2 in a share `binary` of the crowds, from `many_options` in a share
    `many_options_share`, and else from `options`, all log-uniform.

    Two budgets bound a draw: E <= max_annotations, always; T K + W K K <= max_cells, the rows of
    a model with a state per (worker, answer, candidate), as far as the fewest tasks and workers
    allow.
    """

    annotations: Range = (300, 20_000)
    answers_per_task: Range = (2.0, 40.0)
    answers_per_worker: Range = (3.0, 500.0)
    options: tuple[int, int] = (2, 10)
    binary: float = 0.2
    many_options: tuple[int, int] = (11, 50)
    many_options_share: float = 0.04
    fewest_tasks: int = 20
    fewest_workers: int = 10
    max_annotations: int = 100_000
    max_cells: int = 2_000_000
    redundancy: UnevenRedundancy = field(default_factory=UnevenRedundancy)
    loads: UnevenLoads = field(default_factory=UnevenLoads)
    batches: TaskBatches = field(default_factory=TaskBatches)
    bounds: ClassVar[dict[str, Range]] = {
        "annotations": (1, _HUGE),
        "answers_per_task": (1.0, _HUGE),
        "answers_per_worker": (1.0, _HUGE),
        "options": (2, _HUGE),
        "binary": (0.0, 1.0),
        "many_options": (2, _HUGE),
        "many_options_share": (0.0, 1.0),
        "fewest_tasks": (1, _HUGE),
        "fewest_workers": (1, _HUGE),
        "max_annotations": (1, _HUGE),
        "max_cells": (1, _HUGE),
    }

    @classmethod
    def exact(
        cls, *, tasks: int, workers: int, options: int, answers_per_task: int, even: bool = True
    ) -> Shape:
        """Return the shape with exactly these sizes, for tables of results.

        even: workers are chosen uniformly; else with the default heavy-tailed loads, and those
        whom no task chose are gone. No batches, the same number of answers for every task.
        """
        annotations = tasks * answers_per_task
        return cls(
            annotations=(annotations, annotations),
            answers_per_task=(answers_per_task, answers_per_task),
            answers_per_worker=(annotations / workers, annotations / workers),
            options=(options, options),
            binary=0.0,
            many_options_share=0.0,
            fewest_tasks=1,
            fewest_workers=workers,
            max_annotations=annotations,
            max_cells=int(_HUGE),
            redundancy=UnevenRedundancy(probability=0.0),
            loads=UnevenLoads(probability=0.0 if even else 1.0),
            batches=TaskBatches(probability=0.0),
        )

    def sample(self, rng: np.random.Generator) -> DrawnShape:
        """Draw one graph."""
        options = self._draw_options(rng)
        mean = log_uniform(rng, self.answers_per_task)
        load = log_uniform(rng, self.answers_per_worker)
        most = self.max_cells / (options / mean + options**2 / load)
        annotations = min(log_uniform(rng, self.annotations), self.max_annotations, most)
        tasks = max(self.fewest_tasks, round(annotations / mean))
        workers = max(self.fewest_workers, ceil(mean), round(annotations / load))
        propensity = self.loads.sample(rng, workers)

        size = self.batches.sample(rng, tasks)
        answers = self.redundancy.sample(rng, mean, -(-tasks // size))
        answers = np.minimum(answers, min(workers, self.max_annotations))
        batch_of_task = np.arange(tasks) // size
        end = np.cumsum(answers[batch_of_task])
        batch_of_task = batch_of_task[end <= self.max_annotations]
        answers = answers[: batch_of_task[-1] + 1]
        _, worker = assign_sparsely(rng, answers, propensity)
        task_index, place = _one_copy_per_task(answers, batch_of_task)
        worker_index, kept = compacted(worker[place], workers)
        return DrawnShape(task_index, worker_index, len(batch_of_task), len(kept), options)

    def _draw_options(self, rng: np.random.Generator) -> int:
        kind = rng.random()
        if kind < self.binary:
            return 2
        many = kind < self.binary + self.many_options_share
        low, high = self.many_options if many else self.options
        return min(int(log_uniform(rng, (low, high + 1))), high)


def _one_copy_per_task(answers: IntArray, batch_of_task: Places) -> tuple[IntArray, Places]:
    """Repeat each batch's answers [B] for every task of it: task [E], and place in the batches."""
    start = np.cumsum(answers) - answers
    per_task = answers[batch_of_task]
    task_start = np.cumsum(per_task) - per_task
    task_index = np.repeat(np.arange(len(per_task), dtype=np.int32), per_task)
    shift = np.repeat(start[batch_of_task] - task_start, per_task)
    return task_index, np.arange(len(task_index)) + shift
