"""What a crowd shares about the classes: how frequent they are, how well they are recognised, and
where the answers go that are not recognised.

Every source of such answers is a row-stochastic table [true option, answer]. Letters: K options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray
from crowdfm_core.simulation.pieces import Piece, Range, log_uniform

__all__ = [
    "ClassImbalance",
    "ClassSkill",
    "ConfusableClasses",
    "OrdinalConfusion",
    "PreferredAnswers",
    "SharedConfusion",
    "wrong_answers",
]

_WEIGHT = (0.0, 1000.0)
_LEAST_SHARE = 1e-3  # of a class, in units of 1 / K: no class is impossible


@dataclass(frozen=True)
class ClassImbalance(Piece):
    """Classes of different frequency, Dirichlet(concentration, log-uniform); off: all alike.

    At 20 the largest of two classes has 0.56 of the tasks on average, at 0.7 it has 0.78.
    """

    probability: float = 0.65
    concentration: Range = (0.7, 20.0)
    bounds: ClassVar[dict[str, Range]] = {"concentration": (0.05, 1e6)}

    def sample(self, rng: np.random.Generator, options: int) -> FloatArray:
        """Draw the frequency of each class, float [K], summing to 1."""
        if not self.is_on(rng):
            return np.full(options, 1.0 / options)
        concentration = log_uniform(rng, self.concentration)
        share = rng.dirichlet(np.full(options, concentration)) + _LEAST_SHARE / options
        return np.asarray(share / share.sum())


@dataclass(frozen=True)
class ClassSkill(Piece):
    """Classes that everybody recognises better or worse: normal offsets, in logits, of a spread
    from `spread`; off: none.

    Public crowds are right on one class of a set in 0.34 and on another in 0.84 of the answers.
    """

    probability: float = 0.9
    spread: Range = (0.1, 2.5)
    bounds: ClassVar[dict[str, Range]] = {"spread": (0.0, 10.0)}

    def sample(self, rng: np.random.Generator, options: int) -> FloatArray:
        """Draw an offset per class, float [K]."""
        if not self.is_on(rng):
            return np.zeros(options)
        return rng.normal(0.0, rng.uniform(*self.spread), options)


@dataclass(frozen=True)
class PreferredAnswers(Piece):
    """Answers that the whole crowd falls back on, whatever the truth: a Dirichlet draw, or in a
    share `follows_classes` of the crowds the class frequencies themselves (people know what is
    common). `weight` is drawn among the other sources of unrecognised answers.
    """

    probability: float = 0.7
    weight: Range = (0.2, 3.0)
    concentration: Range = (0.3, 5.0)
    follows_classes: float = 0.25
    bounds: ClassVar[dict[str, Range]] = {
        "weight": _WEIGHT,
        "concentration": (0.05, 1e6),
        "follows_classes": (0.0, 1.0),
    }

    def sample(self, rng: np.random.Generator, prior: FloatArray) -> tuple[float, FloatArray]:
        """Draw the weight and the table [K, K], whose rows are all alike."""
        options = len(prior)
        if not self.is_on(rng):
            return 0.0, wrong_answers(options)
        weight = rng.uniform(*self.weight)
        concentration = log_uniform(rng, self.concentration)
        share: FloatArray = rng.dirichlet(np.full(options, concentration))
        if rng.random() < self.follows_classes:
            share = prior
        return weight, np.broadcast_to(share, (options, options))


@dataclass(frozen=True)
class ConfusableClasses(Piece):
    """Groups of classes that look alike: a wrong answer stays inside the group of the truth.

    Classes fall at random into groups of a size from `group`; a class left alone is mistaken for
    any other one.
    """

    probability: float = 0.4
    weight: Range = (0.2, 2.0)
    group: tuple[int, int] = (2, 4)
    bounds: ClassVar[dict[str, Range]] = {"weight": _WEIGHT, "group": (2, 1000)}

    def sample(self, rng: np.random.Generator, options: int) -> tuple[float, FloatArray]:
        """Draw the weight and the table [K, K]."""
        if not self.is_on(rng):
            return 0.0, wrong_answers(options)
        weight = rng.uniform(*self.weight)
        size = int(rng.integers(*self.group, endpoint=True))
        group = rng.permutation(options) // size
        alike = (group[:, None] == group) & ~np.eye(options, dtype=bool)
        alone = ~alike.any(axis=1)
        table = np.where(alone[:, None], wrong_answers(options), alike)
        return weight, table / table.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class OrdinalConfusion(Piece):
    """Options on a scale: a wrong answer z for y has probability ~ exp(-|y - z| / reach), and is
    exp(lean) times as likely above the truth as below it (mild and severe crowds).

    The order of the scale is that of option_index.
    """

    probability: float = 0.2
    weight: Range = (0.2, 2.0)
    reach: Range = (0.3, 2.0)
    lean: Range = (-1.0, 1.0)
    bounds: ClassVar[dict[str, Range]] = {
        "weight": _WEIGHT,
        "reach": (0.05, 1e3),
        "lean": (-20.0, 20.0),
    }

    def sample(self, rng: np.random.Generator, options: int) -> tuple[float, FloatArray]:
        """Draw the weight and the table [K, K]."""
        if not self.is_on(rng):
            return 0.0, wrong_answers(options)
        weight, reach = rng.uniform(*self.weight), log_uniform(rng, self.reach)
        step = np.arange(options) - np.arange(options)[:, None]
        # The nearest wrong answer has exponent 0: small reaches do not underflow to empty rows.
        log_odds = (1 - np.abs(step)) / reach + rng.uniform(*self.lean) * (step > 0)
        table = np.where(step == 0, 0.0, np.exp(log_odds))
        return weight, table / table.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class SharedConfusion(Piece):
    """Wrong answers that the whole crowd shares without any pattern: every class has its own
    Dirichlet draw over the other classes (small concentrations name one or two of them)."""

    probability: float = 0.5
    weight: Range = (0.2, 2.0)
    concentration: Range = (0.3, 5.0)
    bounds: ClassVar[dict[str, Range]] = {"weight": _WEIGHT, "concentration": (0.05, 1e6)}

    def sample(self, rng: np.random.Generator, options: int) -> tuple[float, FloatArray]:
        """Draw the weight and the table [K, K]."""
        if not self.is_on(rng):
            return 0.0, wrong_answers(options)
        weight, concentration = rng.uniform(*self.weight), log_uniform(rng, self.concentration)
        mass = rng.gamma(concentration, 1.0, (options, options)) + 1e-12
        table = mass * wrong_answers(options)
        return weight, table / table.sum(axis=1, keepdims=True)


def wrong_answers(options: int) -> FloatArray:
    """Return the table [K, K] of answers uniform over the K - 1 wrong ones."""
    return (1.0 - np.eye(options)) / (options - 1)
