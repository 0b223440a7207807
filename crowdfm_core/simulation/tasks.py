"""How tasks of one crowd differ: difficulty, sensitivity, and wrong answers that tempt many.

Letters: T tasks, K options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray
from crowdfm_core.simulation.pieces import Piece, Range

__all__ = ["AmbiguousTasks", "EasyAndHard", "TaskDifficulty", "TaskSensitivity", "TemptingAnswers"]


@dataclass(frozen=True)
class TaskDifficulty(Piece):
    """Tasks of normally distributed difficulty, in logits, of a spread from `spread`; off: 0."""

    probability: float = 0.85
    spread: Range = (0.2, 2.0)
    bounds: ClassVar[dict[str, Range]] = {"spread": (0.0, 10.0)}

    def sample(self, rng: np.random.Generator, tasks: int) -> FloatArray:
        """Draw difficulties [T], larger is harder."""
        if not self.is_on(rng):
            return np.zeros(tasks)
        return rng.normal(0.0, rng.uniform(*self.spread), tasks)


@dataclass(frozen=True)
class EasyAndHard(Piece):
    """A mixture: a share from `hard` of the tasks is harder by `gap` logits; off: none is."""

    probability: float = 0.4
    hard: Range = (0.05, 0.5)
    gap: Range = (1.0, 4.0)
    bounds: ClassVar[dict[str, Range]] = {"hard": (0.0, 1.0), "gap": (0.0, 20.0)}

    def sample(self, rng: np.random.Generator, tasks: int) -> FloatArray:
        """Draw additional difficulties [T], 0 or the crowd's gap."""
        if not self.is_on(rng):
            return np.zeros(tasks)
        share, gap = rng.uniform(*self.hard), rng.uniform(*self.gap)
        return gap * (rng.random(tasks) < share)


@dataclass(frozen=True)
class TaskSensitivity(Piece):
    """As in GLAD (Whitehill et al., 2009), ability counts more on some tasks: a factor on the
    logit of recognising the truth, log-normal with a spread from `spread`; off: 1."""

    probability: float = 0.3
    spread: Range = (0.1, 0.8)
    bounds: ClassVar[dict[str, Range]] = {"spread": (0.0, 5.0)}

    def sample(self, rng: np.random.Generator, tasks: int) -> FloatArray:
        """Draw factors [T] > 0 of median 1."""
        if not self.is_on(rng):
            return np.ones(tasks)
        return np.exp(rng.normal(0.0, rng.uniform(*self.spread), tasks))


@dataclass(frozen=True)
class TemptingAnswers(Piece):
    """Every task has one wrong answer that suggests itself: those who do not recognise the truth
    take it in a share from `share`, so that errors on a hard task agree. Off: 0."""

    probability: float = 0.4
    share: Range = (0.05, 0.5)
    bounds: ClassVar[dict[str, Range]] = {"share": (0.0, 1.0)}

    def sample(self, rng: np.random.Generator) -> float:
        """Draw the share."""
        return rng.uniform(*self.share) if self.is_on(rng) else 0.0


@dataclass(frozen=True)
class AmbiguousTasks(Piece):
    """A few tasks, a share from `share`, draw most workers to one wrong answer whatever they know:
    each answer is that one with a probability from `pull`. Off: none does.

    Kept rare: where such tasks are frequent, a model learns to contradict clear majorities.
    """

    probability: float = 0.15
    share: Range = (0.01, 0.08)
    pull: Range = (0.4, 0.9)
    bounds: ClassVar[dict[str, Range]] = {"share": (0.0, 1.0), "pull": (0.0, 1.0)}

    def sample(self, rng: np.random.Generator, tasks: int) -> FloatArray:
        """Draw each task's pull towards its wrong answer, float [T], mostly 0."""
        if not self.is_on(rng):
            return np.zeros(tasks)
        ambiguous = rng.random(tasks) < rng.uniform(*self.share)
        return ambiguous * rng.uniform(*self.pull, size=tasks)
