"""Compiled loops over annotations that the classical methods share, cached on disk.

Letters: E annotations, T tasks, W workers, K options, J states of a task (its true option, or
pairs of true option and subtype). All arrays of length E are in the order of `Answers.in_order`.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "expected_counts",
    "own_values",
    "stable_order",
    "state_posteriors",
    "weighted_votes",
]


@numba.njit(cache=True)
def stable_order(keys, num_keys):  # pragma: no cover
    """Return the stable order of keys [E] in 0..num_keys-1 by counting, int64 [E]."""
    place = np.zeros(num_keys + 1, np.int64)
    for key in keys:
        place[key + 1] += 1
    for key in range(num_keys):
        place[key + 1] += place[key]
    order = np.empty(len(keys), np.int64)
    for row, key in enumerate(keys):
        order[place[key]] = row
        place[key] += 1
    return order


@numba.njit(cache=True)
def weighted_votes(task, option, weight, shape):  # pragma: no cover
    """Sum weight [E] per task and option, float64 [T, K] = shape."""
    votes = np.zeros(shape, np.float64)
    for e in range(len(task)):
        votes[task[e], option[e]] += weight[e]
    return votes


@numba.njit(cache=True)
def own_values(task, option, values):  # pragma: no cover
    """Return values [T, K] at each annotation's task and option, float64 [E]."""
    own = np.empty(len(task), np.float64)
    for e in range(len(task)):
        own[e] = values[task[e], option[e]]
    return own


@numba.njit(cache=True)
def state_posteriors(
    task_start, worker, option, log_answer, log_prior, posterior
):  # pragma: no cover
    """Write softmax(log_prior + sum of log_answer[worker, option]) per task to posterior [T, J].

    log_answer [W, K, J] is the log probability of a worker's answer in each state, log_prior [J].
    Returns the sum of the entropies in nats, and the sum over tasks of the log of the softmax's
    denominator (the log evidence). A task without annotations gets zeros and adds to neither.
    """
    entropy, evidence = 0.0, 0.0
    scores = np.empty(len(log_prior), np.float64)
    for t in range(len(task_start) - 1):
        if task_start[t] == task_start[t + 1]:
            posterior[t] = 0.0
            continue
        scores[:] = log_prior
        # Plain loops: a slice per annotation would cost more than the sums.
        for e in range(task_start[t], task_start[t + 1]):
            w, o = worker[e], option[e]
            for j in range(len(scores)):
                scores[j] += log_answer[w, o, j]
        largest = scores.max()
        total = 0.0
        for j in range(len(scores)):
            posterior[t, j] = np.exp(scores[j] - largest)
            total += posterior[t, j]
        log_total = largest + np.log(total)
        evidence += log_total
        for j in range(len(scores)):
            posterior[t, j] /= total
            if posterior[t, j] > 0.0:
                entropy -= posterior[t, j] * (scores[j] - log_total)
    return entropy, evidence


@numba.njit(cache=True)
def expected_counts(task_start, worker, option, posterior, counts):  # pragma: no cover
    """Add each annotation's posterior [T, J] to counts [W, K, J] at its worker and option."""
    for t in range(len(task_start) - 1):
        for e in range(task_start[t], task_start[t + 1]):
            w, o = worker[e], option[e]
            for j in range(posterior.shape[1]):
                counts[w, o, j] += posterior[t, j]
