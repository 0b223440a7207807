"""Compiled loops over tasks that calibration needs. Letters: T tasks, C candidates."""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

__all__ = ["rescale", "sureness"]


@numba.njit(cache=True, parallel=True)
def sureness(log_posterior, votes, answers, candidate_start):  # pragma: no cover
    """Of each task, float64 [T, 3]: its largest posterior p, the sum of p x vote share and that of
    squared vote shares; zeros where it has no candidates.

    log_posterior, votes [C]; answers [T].
    """
    tasks = len(answers)
    out = np.zeros((tasks, 3))
    for t in numba.prange(tasks):
        for c in range(candidate_start[t], candidate_start[t + 1]):
            posterior = np.exp(np.float64(log_posterior[c]))
            share = votes[c] / max(answers[t], 1)
            out[t, 0] = max(out[t, 0], posterior)
            out[t, 1] += posterior * share
            out[t, 2] += share * share
    return out


@numba.njit(cache=True, parallel=True)
def rescale(log_posterior, factor, candidate_start):  # pragma: no cover
    """Log of p ** factor / sum of p ** factor over the candidates of each task, float64 [C].

    log_posterior [C], factor [T].
    """
    out = np.empty(len(log_posterior))
    for t in numba.prange(len(factor)):
        first, end = candidate_start[t], candidate_start[t + 1]
        top = -np.inf
        for c in range(first, end):
            out[c] = factor[t] * log_posterior[c]
            top = max(top, out[c])
        total = 0.0
        for c in range(first, end):
            out[c] -= top
            total += np.exp(out[c])
        log_total = np.log(total)
        for c in range(first, end):
            out[c] -= log_total
    return out
