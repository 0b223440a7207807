"""Bayesian classifier combination, independent (IBCC) and with subtypes of tasks (EBCC).

Letters: T tasks, W workers, K options, M subtypes, J = K x M states of a task; state j is option
j // M, subtype j % M.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowdfm_core.methods.answers import Answers, Floats, MethodResult
from crowdfm_core.methods.dirichlet import fit_answers, fit_rows
from crowdfm_core.methods.loops import expected_counts, state_posteriors

__all__ = ["EBCC_SUBTYPES", "ebcc", "ibcc"]

EBCC_SUBTYPES = 10
# Priors of (Li et al., 2019): pseudo-counts of right and of each wrong answer, and of a subtype.
_RIGHT, _WRONG, _SUBTYPE = 4.0, 1.0, 0.1
_FEWEST_VOTES = 0.01  # stands for none, where an option that nobody answered needs a prior


def ibcc(answers: Answers, *, max_iterations: int = 500, tolerance: float = 1e-6) -> MethodResult:
    """Kim and Ghahramani (2012): Dawid and Skene's model with Dirichlet priors, variational.

    H.-C. Kim and Z. Ghahramani, Bayesian Classifier Combination, AISTATS 2012 (the independent
    model), with mean-field updates: log posterior[k] = psi(n[k]) + sum over the task's answers of
    psi(n[w, answer, k]) - psi(sum over answers of n[w, answer, k]) + constant, where the n are
    pseudo-counts plus expected counts and psi is the digamma function; the pseudo-counts of answers
    are those of EBCC's paper, of options 1; started from vote shares. Ends when the evidence
    lower bound per annotation grows by less than `tolerance`. worker_score: expected probability
    of naming the true option of a task drawn from the class frequencies, in [0, 1].
    """
    answers = answers.in_order()
    start, prior = answers.vote_shares(), np.ones(answers.num_options)
    return _fit(answers, start, prior, max_iterations, tolerance).result(answers)


def ebcc(
    answers: Answers,
    *,
    seed: int = 0,
    num_starts: int = 1,
    max_iterations: int = 500,
    tolerance: float = 1e-6,
) -> MethodResult:
    """Li, Rubinstein and Cohn (2019): every option has subtypes, which correlate the workers.

    Y. Li, B. Rubinstein and T. Cohn, Exploiting Worker Correlation for Label Aggregation in
    Crowdsourcing, ICML 2019: 10 subtypes per option and a confusion matrix per worker and subtype;
    mean-field updates of the joint posterior of option and subtype as in `ibcc`, with
    psi(m[k, subtype]) - psi(sum over subtypes of m[k, subtype]) added; pseudo-counts 4 of right and
    1 of each wrong answer, 0.1 of each subtype, and the vote shares of the options. Each start
    draws the subtypes' shares of every task from `seed`; the start with the largest lower bound is
    kept. Ends like `ibcc`, with the same worker_score.
    """
    answers = answers.in_order()
    rng = np.random.default_rng(seed)
    shares = answers.vote_shares()
    prior = np.maximum(shares.sum(axis=0), _FEWEST_VOTES)
    fits = [
        _fit(answers, _with_subtypes(shares, rng), prior, max_iterations, tolerance)
        for _ in range(num_starts)
    ]
    return max(fits, key=lambda fit: fit.bound).result(answers)


@dataclass(frozen=True)
class _Fit:
    """Posteriors [T, K], expected accuracies [W] and the lower bound of one run."""

    posterior: Floats
    accuracy: Floats
    bound: float
    iterations: int
    converged: bool

    def result(self, answers: Answers) -> MethodResult:
        return MethodResult.of(
            answers,
            self.posterior,
            self.accuracy,
            iterations=self.iterations,
            converged=self.converged,
        )


def _with_subtypes(shares: Floats, rng: np.random.Generator) -> Floats:
    """Vote shares [T, K] divided among the subtypes by a uniform draw from a simplex, [T, J]."""
    draw = rng.standard_exponential((*shares.shape, EBCC_SUBTYPES))
    state: Floats = shares[:, :, None] * (draw / draw.sum(axis=2, keepdims=True))
    return state.reshape(len(shares), -1)


def _fit(
    answers: Answers, state: Floats, option_prior: Floats, max_iterations: int, tolerance: float
) -> _Fit:
    """Coordinate ascent on the lower bound; state [T, J] are the states' posteriors at the start,
    option_prior [K] the pseudo-counts of the options."""
    options, rows = answers.num_options, max(1, len(answers.task_index))
    subtypes = state.shape[1] // options
    subtype_prior = np.full(subtypes, _SUBTYPE)
    start, worker, option = answers.task_start(), answers.worker_index, answers.option_index
    prior = np.repeat(_WRONG + (_RIGHT - _WRONG) * np.eye(options), subtypes, axis=1)  # [K, J]
    counts = np.zeros((answers.num_workers, options, options * subtypes))
    log_answer = np.empty_like(counts)
    bound, entropy, iterations, converged = -np.inf, 0.0, 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        counts[:] = 0.0
        expected_counts(start, worker, option, state, counts)
        gain = fit_answers(counts, prior, log_answer)
        per_subtype = state.sum(axis=0).reshape(options, subtypes)
        log_subtype, gain_of_subtypes = fit_rows(per_subtype, subtype_prior)
        log_option, gain_of_options = fit_rows(per_subtype.sum(axis=1)[None], option_prior)
        if iterations > 1:
            last, bound = bound, gain + gain_of_subtypes + gain_of_options + entropy
            converged = bound - last < tolerance * rows
        log_prior = (log_option[0][:, None] + log_subtype).reshape(-1)
        entropy, _ = state_posteriors(start, worker, option, log_answer, log_prior, state)
    posterior = state.reshape(answers.num_tasks, options, subtypes).sum(axis=2)
    accuracy = _accuracy(counts + prior, per_subtype + _SUBTYPE)
    return _Fit(posterior, accuracy, bound, iterations, converged)


def _accuracy(counts: Floats, weight: Floats) -> Floats:
    """Expected probability of the right answer, [W]; counts [W, K, J], states' weights [K, M]."""
    states = np.arange(weight.size)
    right = counts[:, states // weight.shape[1], states] / counts.sum(axis=1)
    accuracy: Floats = right @ (weight.reshape(-1) / weight.sum())
    return accuracy
