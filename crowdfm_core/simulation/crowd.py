"""A simulated crowd, and the protocol of everything that can draw one.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import ConfigError

__all__ = ["CrowdGenerator", "FloatArray", "IntArray", "Mixture", "SimulatedCrowd", "compacted"]

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SimulatedCrowd:
    """Annotations of one project whose truth is known; annotations are ordered by task.

    Every task and every worker has at least one annotation, and no pair of them has two.
    A parameter that a generator does not have (a difficulty where all tasks are alike) is NaN.
    """

    task_index: IntArray  # [E]
    worker_index: IntArray  # [E]
    option_index: IntArray  # [E] the answer, 0..K-1
    true_option: IntArray  # [T]
    num_options: int
    worker_ability: FloatArray  # [W] on the real line, larger is better
    task_difficulty: FloatArray  # [T] on the scale of the abilities, larger is harder
    task_discrimination: FloatArray  # [T] > 0
    task_guessing: FloatArray  # [T] in [0, 1], probability of a right answer without any ability

    @property
    def num_annotations(self) -> int:
        """Number of annotations E."""
        return len(self.task_index)

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return len(self.true_option)

    @property
    def num_workers(self) -> int:
        """Number of workers W."""
        return len(self.worker_ability)


class CrowdGenerator(Protocol):
    """A recipe for crowds; equal generators and equal `rng` states give equal crowds."""

    def sample(self, rng: np.random.Generator) -> SimulatedCrowd:
        """Draw one crowd."""


class Mixture:
    """Draws each crowd from one of several generators, chosen with the given shares."""

    def __init__(self, generators: list[CrowdGenerator], shares: list[float]) -> None:
        """Raises ConfigError unless there is one share >= 0 per generator, with a sum > 0."""
        if len(generators) != len(shares) or not generators:
            problem = f"expected one share per generator, got {len(shares)} for {len(generators)}"
            raise ConfigError([problem], where="Mixture")
        if min(shares) < 0 or sum(shares) <= 0:
            problem = f"expected shares >= 0 with a sum above 0, got {shares}"
            raise ConfigError([problem], where="Mixture")
        self.generators = list(generators)
        self.shares = np.asarray(shares, float) / sum(shares)

    def sample(self, rng: np.random.Generator) -> SimulatedCrowd:
        """Draw one crowd from a generator drawn by share."""
        return self.generators[rng.choice(len(self.generators), p=self.shares)].sample(rng)


def compacted(index: IntArray, bound: int) -> tuple[IntArray, IntArray]:
    """Renumber `index` [E] (values below `bound`) densely, keeping the order of its values.

    Returns the new index [E] and the old value of each new one [N].
    """
    present = np.bincount(index, minlength=bound) > 0
    renumbered = (np.cumsum(present) - 1).astype(np.int32)
    return renumbered[index], np.flatnonzero(present).astype(np.int32)
