"""MACE: every answer is either knowledge or the worker's habit.

Letters: T tasks, W workers, K options.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.methods.answers import (
    Answers,
    Floats,
    Gold,
    IntArray,
    MethodResult,
    restricted,
    softmax,
)
from crowdfm_core.methods.special import digamma

__all__ = ["mace"]

# Pseudo-counts of guessing and of knowing, and of every option in a worker's habit.
_GUESSING_PRIOR, _HABIT_PRIOR = 0.5, 10.0
_NOISE = 0.5  # of random starts
_SMALLEST = 1e-300


def mace(
    answers: Answers,
    *,
    gold: Gold = None,
    seed: int = 0,
    num_starts: int = 5,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
) -> MethodResult:
    """Hovy et al. (2013): a worker knows the true option, or answers out of habit.

    D. Hovy, T. Berg-Kirkpatrick, A. Vaswani and E. Hovy, Learning Whom to Trust with MACE, NAACL
    2013: an answer is the true option with probability know[w], else a draw from habit[w];
    variational EM with a Beta(0.5, 0.5) prior of know and a Dirichlet(10) prior of habit, from
    several random starts of which the one with the largest marginal likelihood is kept. A start
    ends when its log, per annotation, moves by less than `tolerance`. Posteriors of gold tasks
    stay at their gold option. worker_score: probability that the worker knows, in [0, 1].
    """
    answers = answers.in_order()
    known = answers.known_options(gold)
    rng = np.random.default_rng(seed)
    fits = [_fit(answers, known, rng, max_iterations, tolerance) for _ in range(num_starts)]
    _, posterior, knowing, iterations, converged = max(fits, key=lambda fit: fit[0])
    return MethodResult.of(answers, posterior, knowing, iterations=iterations, converged=converged)


def _fit(
    answers: Answers,
    known_option: IntArray,
    rng: np.random.Generator,
    max_iterations: int,
    tolerance: float,
) -> tuple[float, Floats, Floats, int, bool]:
    """Return log evidence, posterior [T, K], knowing [W], iterations and whether converged."""
    shape = (answers.num_workers, answers.num_options)
    habit_of_answer = np.ravel_multi_index((answers.worker_index, answers.option_index), shape)
    parts = rng.uniform(1.0, 2.0 + _NOISE, (answers.num_workers, 2))
    habit = rng.uniform(1.0, 2.0 + _NOISE, shape)
    parts /= parts.sum(axis=1, keepdims=True)
    habit /= habit.sum(axis=1, keepdims=True)
    evidence, iterations, converged = -np.inf, 0, False
    while True:
        last = evidence
        evidence, posterior, guessed, knew = _expect(answers, known_option, parts, habit)
        converged = abs(evidence - last) < tolerance * max(1, len(guessed))
        if converged or iterations == max_iterations:
            break
        iterations += 1
        sums = np.bincount(habit_of_answer, guessed, habit.size).astype(np.float64)
        guesses = sums.reshape(shape)
        counts = np.stack([guesses.sum(axis=1), answers.sum_per_worker(knew)], axis=1)
        parts = _expected_rates(counts, _GUESSING_PRIOR)
        habit = _expected_rates(guesses, _HABIT_PRIOR)
    knowing = (counts[:, 1] + _GUESSING_PRIOR) / (counts.sum(axis=1) + 2.0 * _GUESSING_PRIOR)
    return evidence, posterior, knowing, iterations, converged


def _expect(
    answers: Answers, known_option: IntArray, parts: Floats, habit: Floats
) -> tuple[float, Floats, Floats, Floats]:
    """Log evidence, posterior [T, K], and the probability of every answer to be habit and to be
    knowledge, [E] each; parts [W, 2]: rates of habit and of knowledge."""
    guess = parts[answers.worker_index, 0] * habit[answers.worker_index, answers.option_index]
    guess = np.maximum(guess, _SMALLEST)
    either = guess + parts[answers.worker_index, 1]
    scores = restricted(answers.votes(np.log(either) - np.log(guess)), known_option)
    posterior = softmax(scores)
    largest = scores.max(axis=1)
    marginal = largest + np.log(np.exp(scores - largest[:, None]).sum(axis=1))
    evidence = float(marginal.sum() + np.log(guess).sum())
    right = answers.own_values(posterior)
    return evidence, posterior, 1.0 - right + right * guess / either, right * (1.0 - guess / either)


def _expected_rates(counts: Floats, prior: float) -> Floats:
    """Exponentials of the expected logarithms under a Dirichlet of counts [N, K] + prior."""
    posterior = counts + prior
    rates: Floats = np.exp(digamma(posterior) - digamma(posterior.sum(axis=1))[:, None])
    return rates
