"""Crowds of a simulated lake: the simulators that users of peerannot know, as named presets.

A preset draws what its workers are like once per crowd, and their answers piece by piece, so that
a crowd of any size is drawn in bounded memory. Letters: E annotations, T tasks of a piece,
W workers, K options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.item_response import draw_answers
from crowdfm_core.simulation.pieces import BoolArray, draw_rows
from crowdfm_core.simulation.worlds import confusion_with_equal_errors, rows_around

__all__ = ["PRESETS", "Population", "Preset"]

_SPAMMERS = 0.3  # share of the workers
_GOOD = 0.5
_TEACHERS = 0.2
_DIFFICULTIES = (0.55, 0.35, 0.1)  # shares of easy, hard and random tasks
_EASY, _HARD, _RANDOM = range(3)


class Population(Protocol):
    """The workers of one crowd."""

    def answers(
        self, rng: np.random.Generator, truth: IntArray, task: IntArray, worker: IntArray
    ) -> IntArray:
        """Draw the answer of every annotation, int [E]; truth [T], task and worker [E]."""


@dataclass(frozen=True)
class Preset:
    """A named simulator.

    draw: makes the population of W workers and K options. even_votes: whether all tasks get about
    the same number of answers; otherwise some get many and some one.
    """

    draw: Callable[[np.random.Generator, int, int], Population]
    even_votes: bool = True


@dataclass(frozen=True)
class _HammersAndSpammers:
    """Karger, Oh and Shah (2011): a hammer is always right, a spammer answers uniformly."""

    right: FloatArray  # [W]
    num_options: int

    @classmethod
    def draw(cls, rng: np.random.Generator, workers: int, options: int) -> Population:
        spams = rng.random(workers) < _SPAMMERS
        return cls(np.where(spams, 1.0 / options, 1.0), options)

    def answers(
        self, rng: np.random.Generator, truth: IntArray, task: IntArray, worker: IntArray
    ) -> IntArray:
        return draw_answers(rng, truth[task], self.right[worker], self.num_options)


@dataclass(frozen=True)
class _Confusions:
    """Dawid and Skene (1979): a confusion matrix per worker, drawn independently.

    Accuracies are uniform in 0.4 to 1 per worker, rows are Dirichlet around them.
    """

    confusion: FloatArray  # [W, K, K] true option -> answer

    @classmethod
    def draw(cls, rng: np.random.Generator, workers: int, options: int) -> Population:
        return cls(_matrices(rng, rng.uniform(0.4, 1.0, workers), options))

    def answers(
        self, rng: np.random.Generator, truth: IntArray, task: IntArray, worker: IntArray
    ) -> IntArray:
        return _by_confusion(rng, self.confusion, truth[task], worker)


@dataclass(frozen=True)
class _StudentsAndTeachers:
    """Correlated mistakes: a fifth of the workers are teachers, each with a confusion matrix; all
    others give their teacher's answer, whether right or wrong."""

    teacher: IntArray  # [W]
    confusion: FloatArray  # [teachers, K, K]

    @classmethod
    def draw(cls, rng: np.random.Generator, workers: int, options: int) -> Population:
        number = max(1, round(_TEACHERS * workers))
        teacher = rng.integers(0, number, workers, dtype=np.int32)
        teacher[:number] = np.arange(number)
        accuracy = rng.uniform(0.4, 1.0, number)
        return cls(rng.permutation(teacher), _matrices(rng, accuracy, options))

    def answers(
        self, rng: np.random.Generator, truth: IntArray, task: IntArray, worker: IntArray
    ) -> IntArray:
        number = len(self.confusion)
        opinions, place = np.unique(
            task.astype(np.int64) * number + self.teacher[worker], return_inverse=True
        )
        teacher = (opinions % number).astype(np.int32)
        given = _by_confusion(rng, self.confusion, truth[opinions // number], teacher)
        return given[place]


@dataclass(frozen=True)
class _DiscreteDifficulties:
    """After Whitehill et al. (2009): on easy tasks everybody is right, on random ones everybody
    guesses, on hard ones good workers are mostly right and bad ones answer by a matrix of their
    own that knows nothing of the truth."""

    confusion: FloatArray  # [W, K, K], for hard tasks

    @classmethod
    def draw(cls, rng: np.random.Generator, workers: int, options: int) -> Population:
        good = rng.random(workers) < _GOOD
        accuracy = np.where(good, rng.uniform(0.7, 1.0, workers), 1.0 / options)
        return cls(_matrices(rng, accuracy, options))

    def answers(
        self, rng: np.random.Generator, truth: IntArray, task: IntArray, worker: IntArray
    ) -> IntArray:
        difficulty = rng.choice(3, len(truth), p=_DIFFICULTIES)[task]
        answer = truth[task]
        hard: BoolArray = difficulty == _HARD
        answer[hard] = _by_confusion(rng, self.confusion, answer[hard], worker[hard])
        guessed = difficulty == _RANDOM
        options = self.confusion.shape[1]
        answer[guessed] = rng.integers(0, options, int(guessed.sum()), dtype=np.int32)
        return answer


PRESETS = {
    "hammer-spammer": Preset(_HammersAndSpammers.draw),
    "independent-confusion": Preset(_Confusions.draw),
    "student-teacher": Preset(_StudentsAndTeachers.draw),
    "discrete-difficulty": Preset(_DiscreteDifficulties.draw),
    "imbalanced-votes": Preset(_Confusions.draw, even_votes=False),
}


def _matrices(rng: np.random.Generator, accuracy: FloatArray, options: int) -> FloatArray:
    """Confusion matrices [W, K, K] whose rows scatter around an accuracy [W] with equal errors."""
    right = np.repeat(accuracy[:, None], options, axis=1)
    return rows_around(rng, confusion_with_equal_errors(right), 8.0)


def _by_confusion(
    rng: np.random.Generator, confusion: FloatArray, truth: IntArray, worker: IntArray
) -> IntArray:
    """Draw one answer per row of `truth` and `worker`, [E] each."""
    options = confusion.shape[1]
    row = worker.astype(np.int64) * options + truth
    return draw_rows(rng, confusion.reshape(-1, options), row)
