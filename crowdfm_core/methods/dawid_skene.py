"""Dawid and Skene's model, and its form with one parameter per worker.

Letters: T tasks, W workers, K options.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.methods.answers import Answers, Floats, MethodResult, softmax
from crowdfm_core.methods.loops import expected_counts, state_posteriors

__all__ = ["dawid_skene", "one_coin_dawid_skene"]

# Below this an expected count or a probability is 0 for the logarithms.
_SMALLEST = 1e-10


def dawid_skene(
    answers: Answers, *, max_iterations: int = 100, tolerance: float = 1e-5
) -> MethodResult:
    """Dawid and Skene (1979): a confusion matrix per worker, fitted by EM.

    A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM
    Algorithm, Applied Statistics 28 (1979): error rates (2.3), class priors (2.4), posteriors
    (2.5), started from vote shares. Ends when the evidence lower bound per annotation grows by
    less than `tolerance`. worker_score: the probability that the worker names the true option of
    a task drawn from the class priors, in [0, 1].
    """
    answers = answers.in_order()
    start, worker, option = answers.task_start(), answers.worker_index, answers.option_index
    posterior = answers.vote_shares()
    num_answered = int(np.count_nonzero(np.diff(start)))
    counts = np.zeros((answers.num_workers, answers.num_options, answers.num_options))
    expected_counts(start, worker, option, posterior, counts)
    prior = _prior(posterior, num_answered)
    log_error = _log_rates(counts)
    bound, iterations, converged = -np.inf, 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        entropy, _ = state_posteriors(start, worker, option, log_error, np.log(prior), posterior)
        counts[:] = 0.0
        expected_counts(start, worker, option, posterior, counts)
        prior = _prior(posterior, num_answered)
        log_error = _log_rates(counts)
        expectation = float((counts * log_error).sum())
        expectation += float(posterior.sum(axis=0) @ np.log(prior))
        last, bound = bound, (expectation + entropy) / max(1, len(worker))
        converged = bound - last < tolerance
    right = np.exp(np.diagonal(log_error, axis1=1, axis2=2)) @ prior
    return MethodResult.of(answers, posterior, right, iterations=iterations, converged=converged)


def one_coin_dawid_skene(
    answers: Answers, *, max_iterations: int = 100, tolerance: float = 1e-5
) -> MethodResult:
    """Dawid and Skene's model with one accuracy per worker; wrong answers are equally likely.

    Y. Zhang, X. Chen, D. Zhou and M. I. Jordan, Spectral Methods Meet EM, Journal of Machine
    Learning Research 17 (2016), the one-coin model: the posterior of option k is proportional to
    prior[k] times, over the task's answers, accuracy[w] if the answer is k, else
    (1 - accuracy[w]) / (K - 1); accuracy[w] is the mean posterior of the worker's own answers.
    Started from vote shares, with class priors. Ends like `dawid_skene`. worker_score: the
    accuracy, in [0, 1].
    """
    answers = answers.in_order()
    worker = answers.worker_index
    answered = answers.answers_per_task() > 0
    num_answered = int(np.count_nonzero(answered))
    num_answers = np.maximum(answers.answers_per_worker(), 1)
    posterior = answers.vote_shares()
    prior = _prior(posterior, num_answered)
    accuracy = answers.sum_per_worker(answers.own_values(posterior)) / num_answers
    bound, iterations, converged = -np.inf, 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        log_right, log_wrong = _log_coin(accuracy, answers.num_options)
        # log_wrong of all annotations is the same for every option of a task, so it cancels.
        posterior = softmax(np.log(prior) + answers.votes((log_right - log_wrong)[worker]))
        posterior[~answered] = 0.0
        prior = _prior(posterior, num_answered)
        right = answers.sum_per_worker(answers.own_values(posterior))
        accuracy = right / num_answers
        log_right, log_wrong = _log_coin(accuracy, answers.num_options)
        wrong = answers.answers_per_worker() - right
        expectation = float(right @ log_right + wrong @ log_wrong)
        expectation += float(posterior.sum(axis=0) @ np.log(prior))
        last, bound = bound, (expectation + _entropy(posterior)) / max(1, len(worker))
        converged = bool(bound - last < tolerance)
    return MethodResult.of(answers, posterior, accuracy, iterations=iterations, converged=converged)


def _prior(posterior: Floats, num_answered: int) -> Floats:
    """Mean of posteriors [T, K] over the tasks with annotations (the others are 0), above 0."""
    mean: Floats = posterior.sum(axis=0) / max(1, num_answered)
    return np.maximum(mean, _SMALLEST)


def _log_rates(counts: Floats) -> Floats:
    """Log of the share of each answer per worker and true option: counts [W, answer, truth]."""
    counts = np.maximum(counts, _SMALLEST)
    rates: Floats = np.log(counts) - np.log(counts.sum(axis=1, keepdims=True))
    return rates


def _log_coin(accuracy: Floats, num_options: int) -> tuple[Floats, Floats]:
    """Log probabilities of the true option and of one wrong option, [W] each."""
    right = np.clip(accuracy, _SMALLEST, 1.0 - _SMALLEST)
    return np.log(right), np.log((1.0 - right) / max(1, num_options - 1))


def _entropy(posterior: Floats) -> float:
    positive = posterior[posterior > 0.0]
    return float(-(positive * np.log(positive)).sum())
