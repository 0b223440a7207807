"""How large a simulated crowd is, and who answers which task.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from crowdfm_core.errors import ConfigError
from crowdfm_core.simulation.crowd import FloatArray, IntArray

__all__ = ["CrowdSizes", "DrawnSizes", "assign_workers", "check_ranges"]

# Bounds the [tasks, workers] matrix that is sorted at once to a few dozen megabytes.
_MAX_CELLS = 4_000_000


@dataclass(frozen=True)
class DrawnSizes:
    """Sizes of one crowd."""

    num_tasks: int
    num_workers: int
    num_options: int
    answers_per_task: IntArray  # [T] in [1, W]


@dataclass(frozen=True)
class CrowdSizes:
    """Inclusive ranges from which the sizes of a crowd are drawn, as published.

    The number of answers of a task is a Poisson draw around the crowd's mean, clipped to [1, W].
    """

    workers: tuple[int, int] = (20, 100)
    tasks: tuple[int, int] = (100, 300)
    options: tuple[int, int] = (2, 20)
    mean_answers_per_task: tuple[float, float] = (2.0, 10.0)

    def __post_init__(self) -> None:
        check_ranges(self, {"workers": 1, "tasks": 1, "options": 2, "mean_answers_per_task": 0})

    def sample(self, rng: np.random.Generator) -> DrawnSizes:
        """Draw the sizes of one crowd."""
        num_workers = int(rng.integers(*self.workers, endpoint=True))
        num_tasks = int(rng.integers(*self.tasks, endpoint=True))
        mean = rng.uniform(*self.mean_answers_per_task)
        answers = np.clip(rng.poisson(mean, num_tasks), 1, num_workers).astype(np.int32)
        return DrawnSizes(
            num_tasks=num_tasks,
            num_workers=num_workers,
            num_options=int(rng.integers(*self.options, endpoint=True)),
            answers_per_task=answers,
        )


def assign_workers(
    rng: np.random.Generator, answers_per_task: IntArray, propensity: FloatArray
) -> tuple[IntArray, IntArray]:
    """Draw each task's workers without replacement, in proportion to `propensity` [W] > 0.

    Returns task_index and worker_index, both [E], ordered by task. Every worker runs an
    exponential clock of rate `propensity` per task, and the first `answers_per_task` [T] workers
    answer it; this is the Gumbel top-k draw without its logarithms.
    """
    num_tasks, num_workers = len(answers_per_task), len(propensity)
    most = int(answers_per_task.max())
    scale = (1.0 / propensity).astype(np.float32)
    chosen = np.empty((num_tasks, most), np.int32)
    rows = max(1, _MAX_CELLS // num_workers)
    for start in range(0, num_tasks, rows):
        stop = min(start + rows, num_tasks)
        clock = rng.standard_exponential((stop - start, num_workers), np.float32)
        clock *= scale
        if most < num_workers:
            first = np.argpartition(clock, most, axis=1)[:, :most]
        else:
            first = np.broadcast_to(np.arange(num_workers), clock.shape)
        order = np.argsort(np.take_along_axis(clock, first, axis=1), axis=1)
        chosen[start:stop] = np.take_along_axis(first, order, axis=1)
    taken = np.arange(most) < answers_per_task[:, None]
    task_index = np.repeat(np.arange(num_tasks, dtype=np.int32), answers_per_task)
    return task_index, chosen[taken]


def check_ranges(config: Any, lowest: dict[str, float]) -> None:
    """Check that the named fields of a dataclass are pairs low <= high with low at the bound.

    lowest: field name -> smallest admissible low end. Raises ConfigError with every problem.
    """
    problems = []
    for field in fields(config):
        if field.name not in lowest:
            continue
        value = getattr(config, field.name)
        if len(value) != 2 or not value[0] <= value[1]:
            problems.append(f"{field.name}: expected [low, high] with low <= high, got {value}")
        elif value[0] < lowest[field.name]:
            bound = lowest[field.name]
            problems.append(f"{field.name}: expected a low end >= {bound}, got {value}")
    if problems:
        raise ConfigError(problems, where=type(config).__name__)
