"""Variational updates of Dirichlet distributions: expected logarithms, and their part of the
lower bound.

Where a Dirichlet is optimal for its expected counts, its part of the lower bound is
log B(prior + counts) - log B(prior) with B the multivariate beta function.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.methods.special import digamma_and_log_gamma

__all__ = ["fit_answers", "fit_rows"]


@numba.njit(cache=True)
def fit_answers(counts, prior, log_answer):  # pragma: no cover
    """Fit the Dirichlet over answers of every worker and state.

    counts [W, K, J] and prior [K, J] > 0 are indexed by the answer first; writes the expected log
    probabilities to log_answer [W, K, J] and returns the sum of the parts of the lower bound.
    """
    workers, options, states = counts.shape
    # Most workers never gave most answers: what the prior alone amounts to is looked up.
    of_prior = np.empty((options, states, 2), np.float64)
    of_sum = np.empty((states, 2), np.float64)
    sums = np.zeros(states, np.float64)
    for j in range(states):
        for o in range(options):
            sums[j] += prior[o, j]
            of_prior[o, j, 0], of_prior[o, j, 1] = digamma_and_log_gamma(prior[o, j])
        of_sum[j, 0], of_sum[j, 1] = digamma_and_log_gamma(sums[j])
    gain = 0.0
    totals = np.empty(states, np.float64)
    for w in range(workers):
        for j in range(states):
            totals[j] = 0.0
        for o in range(options):
            for j in range(states):
                totals[j] += counts[w, o, j]
        for j in range(states):
            digamma, log_gamma = of_sum[j, 0], of_sum[j, 1]
            if totals[j] > 0.0:
                digamma, log_gamma = digamma_and_log_gamma(totals[j] + sums[j])
            gain += of_sum[j, 1] - log_gamma
            totals[j] = digamma
        for o in range(options):
            for j in range(states):
                digamma, log_gamma = of_prior[o, j, 0], of_prior[o, j, 1]
                if counts[w, o, j] > 0.0:
                    digamma, log_gamma = digamma_and_log_gamma(counts[w, o, j] + prior[o, j])
                gain += log_gamma - of_prior[o, j, 1]
                log_answer[w, o, j] = digamma - totals[j]
    return gain


@numba.njit(cache=True)
def fit_rows(counts, prior):  # pragma: no cover
    """Fit one Dirichlet per row of counts [N, K], all with the same prior [K] > 0.

    Returns the expected log probabilities [N, K] and the sum of the parts of the lower bound.
    """
    rows, options = counts.shape
    expected = np.empty((rows, options), np.float64)
    gain = 0.0
    for n in range(rows):
        digamma_total, log_gamma_total = digamma_and_log_gamma(counts[n].sum() + prior.sum())
        gain += digamma_and_log_gamma(prior.sum())[1] - log_gamma_total
        for o in range(options):
            digamma, log_gamma = digamma_and_log_gamma(counts[n, o] + prior[o])
            gain += log_gamma - digamma_and_log_gamma(prior[o])[1]
            expected[n, o] = digamma - digamma_total
    return expected, gain
