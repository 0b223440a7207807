"""Workers who do not answer honestly: spammers of four kinds, and adversaries.

Letters: W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.pieces import Piece, Range, log_uniform

__all__ = [
    "Adversaries",
    "BiasedSpammers",
    "ConstantSpammers",
    "CopyingWorkers",
    "RandomSpammers",
    "WorkerKind",
    "convert",
]


class WorkerKind(IntEnum):
    """What a worker does instead of answering honestly."""

    HONEST = 0
    RANDOM = 1
    CONSTANT = 2
    BIASED = 3
    COPYING = 4
    ADVERSARIAL = 5


@dataclass(frozen=True)
class _Deviants(Piece):
    """A share, drawn from `share`, of the workers who are still honest becomes of one kind."""

    share: Range = (0.01, 0.15)
    bounds: ClassVar[dict[str, Range]] = {"share": (0.0, 1.0)}

    def sample(self, rng: np.random.Generator, workers: int) -> npt.NDArray[np.bool_]:
        """Draw whom it strikes, bool [W]."""
        if not self.is_on(rng):
            return np.zeros(workers, bool)
        struck: npt.NDArray[np.bool_] = rng.random(workers) < rng.uniform(*self.share)
        return struck


@dataclass(frozen=True)
class RandomSpammers(_Deviants):
    """Spammers who answer uniformly at random."""

    probability: float = 0.25
    share: Range = (0.02, 0.25)


@dataclass(frozen=True)
class ConstantSpammers(_Deviants):
    """Spammers who always give the same answer, each their own, drawn uniformly."""

    probability: float = 0.25
    share: Range = (0.01, 0.15)


@dataclass(frozen=True)
class BiasedSpammers(_Deviants):
    """Spammers who answer at random by a distribution of their own, Dirichlet(concentration)."""

    probability: float = 0.25
    share: Range = (0.01, 0.2)
    concentration: Range = (0.2, 3.0)
    bounds: ClassVar[dict[str, Range]] = {"share": (0.0, 1.0), "concentration": (0.05, 1e6)}

    def distributions(self, rng: np.random.Generator, number: int, options: int) -> FloatArray:
        """Draw the answer distribution of each of `number` spammers, float [number, K]."""
        concentration = log_uniform(rng, self.concentration)
        return np.asarray(rng.dirichlet(np.full(options, concentration), number))


@dataclass(frozen=True)
class CopyingWorkers(_Deviants):
    """Workers who copy another one: each has a leader among those who share a task with them,
    and repeats the leader's answer with a probability from `fidelity` where the leader answered.
    Elsewhere they answer honestly. Leaders do not copy."""

    probability: float = 0.15
    share: Range = (0.02, 0.2)
    fidelity: Range = (0.7, 1.0)
    bounds: ClassVar[dict[str, Range]] = {"share": (0.0, 1.0), "fidelity": (0.0, 1.0)}


@dataclass(frozen=True)
class Adversaries(_Deviants):
    """Workers who give a wrong answer wherever they recognise the truth: with a probability
    `consistent` drawn per crowd the same one for each class, else any wrong one."""

    probability: float = 0.15
    share: Range = (0.01, 0.12)
    consistent: Range = (0.0, 1.0)
    bounds: ClassVar[dict[str, Range]] = {"share": (0.0, 1.0), "consistent": (0.0, 1.0)}


def convert(kind: IntArray, struck: npt.NDArray[np.bool_], new: WorkerKind) -> None:
    """Make the struck workers [W] who are honest in `kind` [W] of the new kind, in place."""
    kind[struck & (kind == WorkerKind.HONEST)] = new
