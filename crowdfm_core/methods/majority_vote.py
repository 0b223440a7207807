"""Majority voting: the option that most annotations of a task name.

Letters: E annotations, T tasks, W workers, K options, P distinct (task, option) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.methods.answers import Answers, MethodResult

__all__ = ["Votes", "count_votes", "majority_vote", "naive_soft", "twothird"]

# Of twothird: the share of votes and the number of annotations that make a label.
_CONSENSUS, _FEWEST_ANSWERS = 2.0 / 3.0, 2

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Votes:
    """Votes per (task, option) pair that somebody chose, ordered by task, then option."""

    num_tasks: int
    pair_task: IntArray  # [P]
    pair_option: IntArray  # [P]
    pair_votes: IntArray  # [P]

    def is_winner(self) -> npt.NDArray[np.bool_]:
        """Whether each pair has the most votes of its task, bool [P]; several do in a tie."""
        most = np.zeros(self.num_tasks, self.pair_votes.dtype)
        np.maximum.at(most, self.pair_task, self.pair_votes)
        winner: npt.NDArray[np.bool_] = self.pair_votes == most[self.pair_task]
        return winner

    def labels(self) -> IntArray:
        """The winner of each task, int [T]; in a tie the smallest option_index, and -1 for a
        task without annotations."""
        winner = self.is_winner()
        labels = np.full(self.num_tasks, -1, np.int32)
        # Backwards, so that the smallest option of a tie is written last.
        labels[self.pair_task[winner][::-1]] = self.pair_option[winner][::-1]
        return labels

    def credit(self, true_option: IntArray) -> npt.NDArray[np.float64]:
        """Credit of each task in [0, 1], float [T]: 1 / (number of winners) where the truth is
        one of them, else 0. Its mean is the expected accuracy of breaking ties at random."""
        winner = self.is_winner()
        task = self.pair_task[winner]
        tied = np.bincount(task, minlength=self.num_tasks)
        right = np.zeros(self.num_tasks)
        hit = self.pair_option[winner] == true_option[task]
        right[task[hit]] = 1.0 / tied[task[hit]]
        return right


def count_votes(task_index: IntArray, option_index: IntArray, *, num_tasks: int) -> Votes:
    """Count votes from one row per annotation, both arrays [E]; repeated rows count each."""
    width = int(option_index.max(initial=0)) + 1
    keys, votes = np.unique(task_index.astype(np.int64) * width + option_index, return_counts=True)
    return Votes(
        num_tasks=num_tasks,
        pair_task=(keys // width).astype(np.int32),
        pair_option=(keys % width).astype(np.int32),
        pair_votes=votes.astype(np.int32),
    )


def majority_vote(answers: Answers) -> MethodResult:
    """Share of a task's answers that each option has; the label is the option with the most.

    worker_score: share of the worker's answers that equal the label, in [0, 1]; where labels tie,
    a winner counts 1 / (number of winners).
    """
    answers = answers.in_order()
    shares = answers.vote_shares()
    won = shares == shares.max(axis=1, keepdims=True)
    credit = won / won.sum(axis=1, keepdims=True)
    agreed = answers.sum_per_worker(answers.own_values(credit))
    return MethodResult.of(answers, shares, agreed / np.maximum(answers.answers_per_worker(), 1))


def naive_soft(answers: Answers) -> MethodResult:
    """The distribution of a task's answers, as its soft label.

    Without a paper; known from peerannot. Labels and probabilities are those of `majority_vote`.
    worker_score: mean share that the worker's own answers have of their tasks, in [0, 1], so that
    answers to contested tasks count less.
    """
    answers = answers.in_order()
    shares = answers.vote_shares()
    own = answers.sum_per_worker(answers.own_values(shares))
    return MethodResult.of(answers, shares, own / np.maximum(answers.answers_per_worker(), 1))


def twothird(answers: Answers) -> MethodResult:
    """Majority voting that abstains: a label needs two thirds of at least two answers.

    Without a paper; known from peerannot and LabelMe. Probabilities are the vote shares; label is
    -1 without consensus. worker_score: share of the worker's answers to tasks with a label that
    equal it, in [0, 1]; that of all workers together for those who have none, 1 / K if nobody has.
    """
    answers = answers.in_order()
    shares = answers.vote_shares()
    result = MethodResult.of(answers, shares, np.zeros(answers.num_workers))
    agreed = shares.max(axis=1, initial=0.0) >= _CONSENSUS - 1e-9
    agreed &= answers.answers_per_task() >= _FEWEST_ANSWERS
    label = np.where(agreed, result.label, -1).astype(np.int32)
    own_label = label[answers.task_index]
    counts = answers.sum_per_worker(own_label >= 0)
    right = answers.sum_per_worker(own_label == answers.option_index)
    pooled = right.sum() / counts.sum() if counts.any() else 1.0 / answers.num_options
    score = np.where(counts > 0.0, right / np.maximum(counts, 1.0), pooled)
    score[answers.answers_per_worker() == 0] = np.nan
    return replace(result, label=label, worker_score=score)
