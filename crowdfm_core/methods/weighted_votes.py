"""Votes weighted by worker, by agreement with the votes' outcome, with gold, or by a fitted model.

In all of them tied winners share the win, so that no option is preferred for its place. Letters:
E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from crowdfm_core.errors import UndefinedMethodError
from crowdfm_core.methods.answers import Answers, Floats, Gold, MethodResult
from crowdfm_core.methods.dawid_skene import fit_dawid_skene
from crowdfm_core.methods.special import chi_squared_quantile

__all__ = [
    "catd",
    "gold_majority_vote",
    "iwmv",
    "pm",
    "shares_of_votes",
    "wawa",
    "weighted_dawid_skene",
    "zero_based_skill",
]

# What stands for no errors where weights are logarithms of rates, and reciprocals of counts.
_SMALLEST_RATE, _FEWEST_ERRORS = 1e-9, 1e-3
_CATD_LEVEL = 0.05
_TIE = 1e-12  # of the votes; far above rounding in sums, far below one vote


def wawa(answers: Answers) -> MethodResult:
    """Worker agreement with aggregate: majority voting, then votes weighted by agreement with it.

    Without a paper; known from Appen's and Crowd-Kit's documentation. worker_score: share of the
    worker's answers that equal the majority label, in [0, 1].
    """
    answers = answers.in_order()
    skill = _agreement(answers, _winners(answers.votes()))
    return _result(answers, skill, iterations=1, converged=True)


def zero_based_skill(answers: Answers, *, iterations: int = 100) -> MethodResult:
    """Zero-based skill: weights move by gradient steps towards the agreement with their votes.

    Without a paper; the rule of Crowd-Kit's documentation: weights start at 1 / K, each step moves
    them by a rate times (agreement - weight), and the rate, 1 at first, halves every 20 steps.
    worker_score: the weight, in [0, 1].
    """
    answers = answers.in_order()
    skill = np.full(answers.num_workers, 1.0 / answers.num_options + 1e-5)
    rate = 1.0
    for iteration in range(1, iterations + 1):
        if iteration % 20 == 0:
            rate *= 0.5
        agreement = _agreement(answers, _winners(_votes(answers, skill)))
        skill = skill + rate * (agreement - skill)
    return _result(answers, skill, iterations=iterations, converged=True)


def pm(answers: Answers, *, max_iterations: int = 100) -> MethodResult:
    """Conflict resolution by weighted voting, with weights -log(error rate / largest error rate).

    Q. Li, Y. Li, J. Gao, B. Zhao, W. Fan and J. Han, Resolving Conflicts in Heterogeneous Data by
    Truth Discovery and Source Reliability Estimation, SIGMOD 2014 (CRH; PM in surveys), with the
    0-1 loss: weight[w] = -log(rate[w] / max rate), where rate[w] is the share of the worker's
    answers that lose; the label has the largest sum of weights. Surveys take the number of lost
    answers in place of their share, which makes those who answer much look bad. Ends when no
    winner changes.
    worker_score: the weight, above 0.
    """

    def weigh(errors: Floats, counts: Floats) -> Floats:
        rates = np.maximum(errors / np.maximum(counts, 1.0), _SMALLEST_RATE)
        weights: Floats = -np.log(rates / rates.max(initial=_SMALLEST_RATE)) + _SMALLEST_RATE
        return weights

    return _alternate(answers, weigh, max_iterations)


def catd(answers: Answers, *, max_iterations: int = 100) -> MethodResult:
    """Weighted voting with weights that are sure of their workers.

    Q. Li, Y. Li, J. Gao, L. Su, B. Zhao, M. Demirbas, W. Fan and J. Han, A Confidence-Aware
    Approach for Truth Discovery on Long-Tail Data, VLDB 2014: weight[w] = q / errors[w], where q
    is the lower 2.5 per cent quantile of the chi-squared distribution with as many degrees of
    freedom as the worker has answers, so that the weight is a lower confidence bound of the
    precision; the label has the largest sum of weights. Ends when no winner changes.
    worker_score: the weight, above 0.
    """

    def weigh(errors: Floats, counts: Floats) -> Floats:
        quantile: Floats = chi_squared_quantile(_CATD_LEVEL / 2.0, np.maximum(counts, 1.0))
        return quantile / np.maximum(errors, _FEWEST_ERRORS)

    return _alternate(answers, weigh, max_iterations)


def iwmv(answers: Answers, *, max_iterations: int = 100) -> MethodResult:
    """Iterative weighted majority voting, with weights linear in the worker's accuracy.

    H. Li and B. Yu, Error Rate Bounds and Iterative Weighted Majority Voting for Crowdsourcing,
    2014, the IWMV algorithm: weight[w] = K accuracy[w] - 1, where the accuracy is the share of the
    worker's answers that win; a worker below chance counts against the own answer. Starts from a
    majority vote, ends when no winner changes. worker_score: the accuracy, in [0, 1].
    """

    def weigh(errors: Floats, counts: Floats) -> Floats:
        weights: Floats = answers.num_options * (1.0 - errors / np.maximum(counts, 1.0)) - 1.0
        return weights

    result = _alternate(answers, weigh, max_iterations)
    return replace(result, worker_score=(result.worker_score + 1.0) / answers.num_options)


def gold_majority_vote(answers: Answers, *, gold: Gold = None) -> MethodResult:
    """Votes weighted by each worker's accuracy on gold tasks.

    Without a paper; known from Crowd-Kit. A worker who answered no gold task has the accuracy of
    all answers to gold tasks together. Gold tasks are voted on like any other. worker_score: the
    accuracy, in [0, 1].

    Raises UndefinedMethodError if nobody answered a gold task.
    """
    answers = answers.in_order()
    own_gold = answers.known_options(gold)[answers.task_index]
    counts = answers.sum_per_worker(own_gold >= 0)
    if not counts.any():
        raise UndefinedMethodError("gold_majority_vote", "nobody answered a gold task")
    right = answers.sum_per_worker(own_gold == answers.option_index)
    accuracy = np.full(answers.num_workers, right.sum() / counts.sum())
    np.divide(right, counts, out=accuracy, where=counts > 0.0)
    return _result(answers, accuracy, iterations=1, converged=True)


def weighted_dawid_skene(
    answers: Answers, *, gold: Gold = None, max_iterations: int = 100, tolerance: float = 1e-5
) -> MethodResult:
    """Votes weighted by the probability, fitted by Dawid and Skene's model, of naming that option.

    Without a paper; WDS of peerannot's documentation: `dawid_skene` is fitted, with gold, and a
    vote for option k weighs what its confusion matrix has at (k, k). Gold tasks are voted on like
    any other. worker_score: that of `dawid_skene`, in [0, 1].
    """
    answers = answers.in_order()
    fit = fit_dawid_skene(answers, gold, max_iterations, tolerance)
    option = answers.option_index
    votes = answers.votes(np.exp(fit.log_error[answers.worker_index, option, option]))
    return MethodResult.of(
        answers,
        shares_of_votes(answers, votes),
        fit.accuracy(),
        iterations=fit.iterations,
        converged=fit.converged,
    )


def shares_of_votes(answers: Answers, votes: Floats) -> Floats:
    """Share of each option in a task's weighted votes [T, K]; of its plain votes where all
    weights are 0."""
    total = votes.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(votes, total, out=answers.vote_shares(), where=total > 0.0)
    return shares


def _alternate(
    answers: Answers, weigh: Callable[[Floats, Floats], Floats], max_iterations: int
) -> MethodResult:
    """Vote, weigh workers by errors and counts [W], vote with the weights, and so on."""
    answers = answers.in_order()
    counts = answers.answers_per_worker().astype(np.float64)
    winners = _winners(answers.votes())
    iterations, converged = 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        weights = weigh(counts - answers.sum_per_worker(answers.own_values(winners)), counts)
        last, winners = winners, _winners(_votes(answers, weights))
        converged = bool((last == winners).all())
    return _result(answers, weights, iterations=iterations, converged=converged)


def _result(answers: Answers, weights: Floats, *, iterations: int, converged: bool) -> MethodResult:
    """Shares of the weighted votes as probabilities, weights as scores."""
    shares = shares_of_votes(answers, _votes(answers, weights))
    return MethodResult.of(answers, shares, weights, iterations=iterations, converged=converged)


def _votes(answers: Answers, weights: Floats) -> Floats:
    """Weighted votes [T, K], all at least 0: a negative weight counts, as a positive one, for
    every other option, which changes a task's votes by one constant."""
    of_answer = weights[answers.worker_index]
    against = answers.sum_per_task(np.minimum(of_answer, 0.0))
    return np.maximum(answers.votes(of_answer) - against[:, None], 0.0)


def _winners(votes: Floats) -> Floats:
    """1 / (number of winners) for the options with the most votes of a task, else 0; [T, K]."""
    most = votes.max(axis=1, keepdims=True)
    won: Floats = (votes >= most * (1.0 - _TIE)).astype(np.float64)
    won /= won.sum(axis=1, keepdims=True)
    return won


def _agreement(answers: Answers, winners: Floats) -> Floats:
    """Mean share of the win of each worker's answers, [W] in [0, 1]."""
    won = answers.sum_per_worker(answers.own_values(winners))
    share: Floats = won / np.maximum(answers.answers_per_worker(), 1)
    return share
