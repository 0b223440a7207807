"""What every classical method takes and gives back.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import ScoringError
from crowdfm_core.methods.loops import own_values, stable_order, weighted_votes

__all__ = [
    "Answers",
    "Floats",
    "Gold",
    "IntArray",
    "MethodResult",
    "pinned",
    "restricted",
    "softmax",
]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]
# A task's known true option_index, -1 where it is unknown, [T]; None: nothing is known.
Gold = npt.NDArray[np.integer[Any]] | None


@dataclass(frozen=True)
class Answers:
    """Annotations of one project, one row each; repeated (task, worker) rows count each.

    Raises ScoringError for arrays of unequal length, for an index outside its range, and without
    an option.
    """

    task_index: IntArray  # [E]
    worker_index: IntArray  # [E]
    option_index: IntArray  # [E]
    num_tasks: int
    num_workers: int
    num_options: int

    def __post_init__(self) -> None:
        lengths = [len(self.task_index), len(self.worker_index), len(self.option_index)]
        if len(set(lengths)) > 1:
            raise ScoringError(
                "expected task_index, worker_index and option_index of one length, "
                f"got {', '.join(map(str, lengths))}"
            )
        if self.num_options < 1:
            raise ScoringError(f"expected num_options >= 1, got {self.num_options}")
        for name, index, bound in (
            ("task_index", self.task_index, self.num_tasks),
            ("worker_index", self.worker_index, self.num_workers),
            ("option_index", self.option_index, self.num_options),
        ):
            if len(index) and not (index.min() >= 0 and index.max() < bound):
                raise ScoringError(
                    f"expected {name} in 0..{bound - 1}, got {index.min()}..{index.max()}"
                )

    def in_order(self) -> Answers:
        """The same rows by task, worker and option, so that no sum depends on their order."""
        if self._is_ordered():
            return self
        order = stable_order(self.option_index, self.num_options)
        order = order[stable_order(self.worker_index[order], self.num_workers)]
        order = order[stable_order(self.task_index[order], self.num_tasks)]
        return replace(
            self,
            task_index=self.task_index[order],
            worker_index=self.worker_index[order],
            option_index=self.option_index[order],
        )

    def _is_ordered(self) -> bool:
        task, worker, option = (
            np.diff(index) for index in (self.task_index, self.worker_index, self.option_index)
        )
        after = (task > 0) | ((task == 0) & ((worker > 0) | ((worker == 0) & (option >= 0))))
        return bool(after.all())

    def task_start(self) -> npt.NDArray[np.int64]:
        """First row of each task in ordered answers, [T+1]; the last entry is E."""
        return np.concatenate([[0], np.cumsum(self.answers_per_task())]).astype(np.int64)

    def answers_per_task(self) -> npt.NDArray[np.int64]:
        """Number of annotations of each task, [T]."""
        return np.bincount(self.task_index, minlength=self.num_tasks)

    def answers_per_worker(self) -> npt.NDArray[np.int64]:
        """Number of annotations of each worker, [W]."""
        return np.bincount(self.worker_index, minlength=self.num_workers)

    def sum_per_worker(self, values: npt.NDArray[Any]) -> Floats:
        """Sum values [E] over each worker's annotations, [W]."""
        return np.bincount(self.worker_index, values, self.num_workers).astype(np.float64)

    def sum_per_task(self, values: npt.NDArray[Any]) -> Floats:
        """Sum values [E] over each task's annotations, [T]."""
        return np.bincount(self.task_index, values, self.num_tasks).astype(np.float64)

    def votes(self, weight: Floats | None = None) -> Floats:
        """Sum of weights [E] (default: 1 each) per task and answered option, [T, K]."""
        weight = np.ones(len(self.task_index)) if weight is None else weight
        shape = (self.num_tasks, self.num_options)
        votes: Floats = weighted_votes(self.task_index, self.option_index, weight, shape)
        return votes

    def vote_shares(self) -> Floats:
        """Share of a task's answers that each option has, [T, K]; zeros without answers."""
        return self.votes() / np.maximum(self.answers_per_task(), 1)[:, None]

    def known_options(self, gold: Gold) -> IntArray:
        """Gold as the methods use it, int32 [T]: the known true option_index, -1 where it is
        unknown or nobody answered the task; all -1 for gold None.

        Raises ScoringError for another length, and for an option outside -1..K-1.
        """
        if gold is None:
            return np.full(self.num_tasks, -1, np.int32)
        if len(gold) != self.num_tasks:
            raise ScoringError(f"expected gold of {self.num_tasks} tasks, got {len(gold)}")
        if len(gold) and not (gold.min() >= -1 and gold.max() < self.num_options):
            raise ScoringError(
                f"expected gold in -1..{self.num_options - 1}, got {gold.min()}..{gold.max()}"
            )
        return np.where(self.answers_per_task() > 0, gold, -1).astype(np.int32)

    def own_values(self, values: Floats) -> Floats:
        """Entry of values [T, K] at each annotation's task and option, [E]."""
        own: Floats = own_values(self.task_index, self.option_index, values)
        return own


@dataclass(frozen=True)
class MethodResult:
    """Labels of all tasks and scores of all workers.

    probabilities: rows sum to 1, uniform for a task without annotations; the method's entry in the
    registry says what they are, None where it says none. label is the most probable option, the
    smallest option_index in a tie, and -1 for a task without annotations or on which the method
    abstains. worker_score is NaN for a worker without
    annotations. converged says whether the method's own rule, not its limit, ended it.
    """

    probabilities: Floats | None  # [T, K]
    label: IntArray  # [T]
    worker_score: Floats  # [W]
    iterations: int
    converged: bool

    @classmethod
    def of(
        cls,
        answers: Answers,
        probabilities: Floats,
        worker_score: Floats,
        *,
        iterations: int = 1,
        converged: bool = True,
    ) -> MethodResult:
        """Take the labels from probabilities [T, K]; blank what has no annotation."""
        unanswered = answers.answers_per_task() == 0
        probabilities = np.where(unanswered[:, None], 1.0 / answers.num_options, probabilities)
        # Options this close are tied: rounding must not choose between them.
        best = probabilities.max(axis=1, keepdims=True, initial=0.0)
        label = (probabilities >= best - 1e-9).argmax(axis=1).astype(np.int32)
        label[unanswered] = -1
        score = np.where(answers.answers_per_worker() == 0, np.nan, worker_score)
        return cls(probabilities, label, score, iterations, converged)


def pinned(posterior: Floats, known_option: IntArray) -> Floats:
    """A copy of posterior [T, K] that is sure of the known options [T] (-1: unknown)."""
    known = np.flatnonzero(known_option >= 0)
    posterior = posterior.copy()
    posterior[known] = 0.0
    posterior[known, known_option[known]] = 1.0
    return posterior


def restricted(scores: Floats, known_option: IntArray) -> Floats:
    """A copy of log scores [T, K] with -inf for what a known option [T] (-1: unknown) excludes."""
    known = np.flatnonzero(known_option >= 0)
    scores = scores.copy()
    own = scores[known, known_option[known]]
    scores[known] = -np.inf
    scores[known, known_option[known]] = own
    return scores


def softmax(scores: Floats) -> Floats:
    """Exponentials of the rows of scores [T, K], each row divided by its sum."""
    weights: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
