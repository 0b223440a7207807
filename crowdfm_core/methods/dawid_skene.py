"""Dawid and Skene's model, and its form with one parameter per worker.

Letters: T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowdfm_core.methods.answers import (
    Answers,
    Floats,
    Gold,
    MethodResult,
    pinned,
    restricted,
    softmax,
)
from crowdfm_core.methods.loops import expect_states, expected_counts

__all__ = [
    "SMALLEST",
    "DawidSkeneFit",
    "dawid_skene",
    "entropy_of",
    "fit_dawid_skene",
    "log_rates",
    "one_coin_dawid_skene",
]

# Below this an expected count or a probability is 0 for the logarithms.
SMALLEST = 1e-10


@dataclass(frozen=True)
class DawidSkeneFit:
    """Posteriors [T, K], log error rates [W, answer, truth] and class priors [K] of one fit."""

    posterior: Floats
    log_error: Floats
    prior: Floats
    iterations: int
    converged: bool

    def accuracy(self) -> Floats:
        """Probability that a worker names the true option of a task drawn from the priors, [W]."""
        accuracy: Floats = np.exp(np.diagonal(self.log_error, axis1=1, axis2=2)) @ self.prior
        return accuracy


def dawid_skene(
    answers: Answers, *, gold: Gold = None, max_iterations: int = 100, tolerance: float = 1e-5
) -> MethodResult:
    """Dawid and Skene (1979): a confusion matrix per worker, fitted by EM.

    A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM
    Algorithm, Applied Statistics 28 (1979): error rates (2.3), class priors (2.4), posteriors
    (2.5), started from vote shares. Ends when the evidence lower bound per annotation grows by
    less than `tolerance`. Posteriors of gold tasks stay at their gold option. worker_score: the
    probability that the worker names the true option of a task drawn from the class priors, in
    [0, 1].
    """
    answers = answers.in_order()
    fit = fit_dawid_skene(answers, gold, max_iterations, tolerance)
    return MethodResult.of(
        answers,
        fit.posterior,
        fit.accuracy(),
        iterations=fit.iterations,
        converged=fit.converged,
    )


def fit_dawid_skene(
    answers: Answers, gold: Gold, max_iterations: int, tolerance: float
) -> DawidSkeneFit:
    """Fit ordered answers by EM as `dawid_skene` says."""
    known_option = answers.known_options(gold)
    start, worker, option = answers.task_start(), answers.worker_index, answers.option_index
    posterior = pinned(answers.vote_shares(), known_option)
    num_answered = int(np.count_nonzero(np.diff(start)))
    every_option, mass = np.arange(answers.num_options), posterior.sum(axis=0)
    counts = np.zeros((answers.num_workers, answers.num_options, answers.num_options))
    expected_counts(start, worker, option, posterior, counts)
    prior = _prior(mass, num_answered)
    log_error = log_rates(counts)
    bound, iterations, converged = -np.inf, 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        counts[:], mass[:] = 0.0, 0.0
        entropy = expect_states(
            start,
            worker,
            option,
            log_error,
            np.log(prior),
            every_option,
            known_option,
            counts,
            mass,
            posterior,
        )
        prior = _prior(mass, num_answered)
        log_error = log_rates(counts)
        expectation = float((counts * log_error).sum()) + float(mass @ np.log(prior))
        last, bound = bound, (expectation + entropy) / max(1, len(worker))
        converged = bound - last < tolerance
    return DawidSkeneFit(posterior, log_error, prior, iterations, converged)


def one_coin_dawid_skene(
    answers: Answers, *, gold: Gold = None, max_iterations: int = 100, tolerance: float = 1e-5
) -> MethodResult:
    """Dawid and Skene's model with one accuracy per worker; wrong answers are equally likely.

    Y. Zhang, X. Chen, D. Zhou and M. I. Jordan, Spectral Methods Meet EM, Journal of Machine
    Learning Research 17 (2016), the one-coin model: the posterior of option k is proportional to
    prior[k] times, over the task's answers, accuracy[w] if the answer is k, else
    (1 - accuracy[w]) / (K - 1); accuracy[w] is the mean posterior of the worker's own answers.
    Started from vote shares, with class priors. Ends and uses gold like `dawid_skene`.
    worker_score: the accuracy, in [0, 1].
    """
    answers = answers.in_order()
    known_option = answers.known_options(gold)
    worker = answers.worker_index
    answered = answers.answers_per_task() > 0
    num_answered = int(np.count_nonzero(answered))
    num_answers = np.maximum(answers.answers_per_worker(), 1)
    posterior = pinned(answers.vote_shares(), known_option)
    prior = _prior(posterior.sum(axis=0), num_answered)
    accuracy = answers.sum_per_worker(answers.own_values(posterior)) / num_answers
    bound, iterations, converged = -np.inf, 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        log_right, log_wrong = _log_coin(accuracy, answers.num_options)
        # log_wrong of all annotations is the same for every option of a task, so it cancels.
        scores = np.log(prior) + answers.votes((log_right - log_wrong)[worker])
        posterior = softmax(restricted(scores, known_option))
        posterior[~answered] = 0.0
        prior = _prior(posterior.sum(axis=0), num_answered)
        right = answers.sum_per_worker(answers.own_values(posterior))
        accuracy = right / num_answers
        log_right, log_wrong = _log_coin(accuracy, answers.num_options)
        wrong = answers.answers_per_worker() - right
        expectation = float(right @ log_right + wrong @ log_wrong)
        expectation += float(posterior.sum(axis=0) @ np.log(prior))
        last, bound = bound, (expectation + entropy_of(posterior)) / max(1, len(worker))
        converged = bool(bound - last < tolerance)
    return MethodResult.of(answers, posterior, accuracy, iterations=iterations, converged=converged)


def _prior(mass: Floats, num_answered: int) -> Floats:
    """Mean posterior [K] of the tasks with annotations from the sum over them, above 0."""
    mean: Floats = mass / max(1, num_answered)
    return np.maximum(mean, SMALLEST)


def log_rates(counts: Floats) -> Floats:
    """Log of the share of each answer per worker and true option: counts [W, answer, truth]."""
    counts = np.maximum(counts, SMALLEST)
    rates: Floats = np.log(counts) - np.log(counts.sum(axis=1, keepdims=True))
    return rates


def _log_coin(accuracy: Floats, num_options: int) -> tuple[Floats, Floats]:
    """Log probabilities of the true option and of one wrong option, [W] each."""
    right = np.clip(accuracy, SMALLEST, 1.0 - SMALLEST)
    return np.log(right), np.log((1.0 - right) / max(1, num_options - 1))


def entropy_of(posterior: Floats) -> float:
    """Sum of the entropies of the rows of posterior, in nats; rows may be all 0."""
    positive = posterior[posterior > 0.0]
    return float(-(positive * np.log(positive)).sum())
