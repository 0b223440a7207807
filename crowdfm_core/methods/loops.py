"""Compiled loops over annotations that the classical methods share, cached on disk.

Letters: E annotations, T tasks, W workers, K options, J states of a task (its true option, or
pairs of true option and subtype). All arrays of length E are in the order of `Answers.in_order`.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = [
    "expect_states",
    "expected_counts",
    "own_values",
    "stable_order",
    "weighted_votes",
]

# Stands for minus infinity under an exponential: far below rounding beside 1, and not denormal.
_LOWEST = -700.0


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


@numba.njit(cache=True, error_model="numpy")
def _exponentials(values, bits, powers):  # pragma: no cover
    """Replace values [J] in -700..0 by their exponentials, to the last two bits.

    exp(x) = 2^n exp(r) with |r| <= log(2) / 2 and exp(r) from its Taylor series to r^12. bits
    (int64) and powers (float64) are views of one buffer [J], through which 2^n is written; a plain
    loop over math.exp would not be turned into vector instructions.
    """
    for j in range(len(values)):
        n = math.floor(values[j] * 1.4426950408889634 + 0.5)
        bits[j] = (np.int64(n) + 1023) << 52
        r = (values[j] - n * 0.6931471803691238) - n * 1.9082149292705877e-10
        square = r * r
        fourth = square * square
        low = (1.0 + r) + square * (1 / 2 + r * (1 / 6))
        middle = (1 / 24 + r * (1 / 120)) + square * (1 / 720 + r * (1 / 5040))
        high = (1 / 40320 + r * (1 / 362880)) + square * (1 / 3628800 + r * (1 / 39916800))
        high += fourth * (1 / 479001600)
        values[j] = low + fourth * (middle + fourth * high)
    for j in range(len(values)):
        values[j] *= powers[j]


@numba.njit(cache=True, error_model="numpy")
def _largest(values):  # pragma: no cover
    """Return the largest of values [J]; four maxima in turn do not wait for one another."""
    a = b = c = d = values[0]
    whole = len(values) - len(values) % 4
    for j in range(0, whole, 4):
        a, b = max(a, values[j]), max(b, values[j + 1])
        c, d = max(c, values[j + 2]), max(d, values[j + 3])
    for j in range(whole, len(values)):
        a = max(a, values[j])
    return max(max(a, b), max(c, d))


@numba.njit(cache=True, error_model="numpy")
def _total_and_dot(values, weights):  # pragma: no cover
    """Return the sum of values [J] and that of values x weights, in four parts as `_largest`."""
    a = b = c = d = 0.0
    e = f = g = h = 0.0
    whole = len(values) - len(values) % 4
    for j in range(0, whole, 4):
        a, e = a + values[j], e + values[j] * weights[j]
        b, f = b + values[j + 1], f + values[j + 1] * weights[j + 1]
        c, g = c + values[j + 2], g + values[j + 2] * weights[j + 2]
        d, h = d + values[j + 3], h + values[j + 3] * weights[j + 3]
    for j in range(whole, len(values)):
        a, e = a + values[j], e + values[j] * weights[j]
    return (a + b) + (c + d), (e + f) + (g + h)


@numba.njit(cache=True, error_model="numpy")
def expect_states(
    task_start,
    worker,
    option,
    log_answer,
    log_prior,
    option_of_state,
    known_option,
    counts,
    mass,
    posterior,
):  # pragma: no cover
    """One expectation step: posteriors of every task's states, and what they add up to.

    A task's posterior is softmax(log_prior + sum of log_answer[worker, option] over its answers),
    where log_answer [W, K, J] is the log probability of a worker's answer in each state and
    log_prior [J]; only states of the known option have any where known_option [T] is not -1.
    Writes the posterior of the options to posterior [T, K], zeros for a task without annotations,
    and adds the posterior of the states to mass [J] and, at each annotation's worker and option,
    to counts [W, K, J]. Returns the sum of the entropies of the tasks in nats.
    """
    states = len(log_prior)
    scores, share = np.empty(states, np.float64), np.empty(states, np.float64)
    bits = np.empty(states, np.int64)
    powers = bits.view(np.float64)
    entropy = 0.0
    posterior[:] = 0.0
    for t in range(len(task_start) - 1):
        first, last = task_start[t], task_start[t + 1]
        if first == last:
            continue
        for j in range(states):
            scores[j] = log_prior[j]
        # Plain loops: a slice per annotation would cost more than the sums.
        for e in range(first, last):
            w, o = worker[e], option[e]
            for j in range(states):
                scores[j] += log_answer[w, o, j]
        if known_option[t] >= 0:
            for j in range(states):
                if option_of_state[j] != known_option[t]:
                    scores[j] = -np.inf
        largest = _largest(scores)
        for j in range(states):
            scores[j] = max(scores[j] - largest, _LOWEST)
            share[j] = scores[j]
        _exponentials(share, bits, powers)
        total, dot = _total_and_dot(share, scores)
        entropy += math.log(total) - dot / total
        scale = 1.0 / total
        for j in range(states):
            share[j] *= scale
            mass[j] += share[j]
        for j in range(states):
            posterior[t, option_of_state[j]] += share[j]
        for e in range(first, last):
            w, o = worker[e], option[e]
            for j in range(states):
                counts[w, o, j] += share[j]
    return entropy


@numba.njit(cache=True)
def expected_counts(task_start, worker, option, posterior, counts):  # pragma: no cover
    """Add each annotation's posterior [T, J] to counts [W, K, J] at its worker and option."""
    for t in range(len(task_start) - 1):
        for e in range(task_start[t], task_start[t + 1]):
            w, o = worker[e], option[e]
            for j in range(posterior.shape[1]):
                counts[w, o, j] += posterior[t, j]
