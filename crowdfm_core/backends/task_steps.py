"""Parts of `unrolled_kernels.update_tasks`, each over the few tasks that are updated together.

Candidates are numbered from the first of these tasks on; arrays per candidate have room for as many
more as there are lanes. Letters: see candidates.py; D width, F features, N candidates of the tasks.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.vector_memory import load, prefetch, store
from crowdfm_core.backends.vectors import (
    LANES,
    exp,
    first_lanes,
    max_lanes,
    maximum,
    splat,
    sum_lanes,
)

__all__ = ["GATHERED", "gather_messages", "softmax", "weigh_models"]

_CLIP = -10.0
GATHERED = 3 * LANES  # numbers of a task's sums that are held in registers at once
_AHEAD = 8  # annotations whose rows are asked for before they are read


@numba.njit(cache=True, inline="always")
def _sum_runs(flat, runs, number, size, out, at):  # pragma: no cover
    """Write the sum of flat[runs[i] : runs[i] + size] over the first runs to out[at : at + size],
    and anything to fewer than GATHERED places behind; reads as far behind each run."""
    for f in range(0, size, GATHERED):
        sum0 = sum1 = sum2 = splat(flat.dtype.type(0))
        for i in range(number):
            run = runs[i] + f
            sum0 = sum0 + load(flat, run)
            sum1 = sum1 + load(flat, run + LANES)
            sum2 = sum2 + load(flat, run + 2 * LANES)
        store(out, at + f, sum0)
        store(out, at + f + LANES, sum1)
        store(out, at + f + 2 * LANES, sum2)


@numba.njit(cache=True)
def gather_messages(
    begin,
    after,
    candidate_start,
    candidate_option,
    pair_start,
    pair_option,
    entry_start,
    neighbour_pair,
    row_start,
    is_tied,
    messages,
    runs,
    sums,
):  # pragma: no cover
    """Sum over the annotations of each task in [begin, after) the messages [Q, F] of their rows, to
    sums [N, F], flat. runs: room for the annotations of a task."""
    columns = messages.shape[1]
    flat = messages.reshape(-1)
    last = len(neighbour_pair) - 1
    for t in range(begin, after):
        first, end = candidate_start[t], candidate_start[t + 1]
        target, size = (first - candidate_start[begin]) * columns, (end - first) * columns
        entry = entry_start[pair_start[t]]
        number = entry_start[pair_start[t + 1]] - entry
        ahead = min(size, 16 * columns)
        last_run = 0
        for i in range(number):
            soon = row_start[neighbour_pair[min(entry + i + _AHEAD, last)]] * columns
            for f in range(0, ahead, LANES):
                prefetch(flat, soon + f)
            runs[i] = row_start[neighbour_pair[entry + i]] * columns
            last_run = max(last_run, runs[i])
        # The rows of all candidates stand together, unless the task is tied: same, other.
        if not is_tied[t] and last_run + size + GATHERED <= len(flat):
            _sum_runs(flat, runs, number, size, sums, target)
            continue
        for f in range(target, target + size):
            sums[f] = 0
        for p in range(pair_start[t], pair_start[t + 1]):
            for e in range(entry_start[p], entry_start[p + 1]):
                for c in range(first, end):
                    is_other = int(candidate_option[c] != pair_option[p])
                    source = runs[e - entry] + (is_other if is_tied[t] else c - first) * columns
                    for f in range(columns):
                        sums[target + (c - first) * columns + f] += flat[source + f]


@numba.njit(cache=True, inline="always")
def softmax(logits, begin, end, shares, logs):  # pragma: no cover
    """Write softmax and log softmax of logits[begin:end] to the same places, and anything to fewer
    than 16 places behind."""
    dtype = logits.dtype
    least = splat(dtype.type(-np.inf))
    top = least
    for i in range(begin, end, LANES):
        top = maximum(top, first_lanes(load(logits, i), end - i, least))
    top = splat(max_lanes(top))
    total = splat(dtype.type(0))
    for i in range(begin, end, LANES):
        share = exp(first_lanes(load(logits, i), end - i, least) - top)
        store(shares, i, share)
        total = total + share
    number = sum_lanes(total)
    top = top + splat(np.log(number))
    for i in range(begin, end, LANES):
        store(shares, i, load(shares, i) * splat(dtype.type(1) / number))
        store(logs, i, load(logits, i) - top)


@numba.njit(cache=True)
def weigh_models(
    begin, after, candidate_start, candidate_group, log_prior, root_answers, sums, columns, out
):  # pragma: no cover
    """What the classical models say of the candidates of the tasks in [begin, after), to the rows
    of out [8, N]: log prior, log posteriors of the models, their posteriors, and joint log
    probabilities by root of the number of answers; one row is for work.

    sums: as from `gather_messages`; the last two columns are those of the models.
    """
    dtype = sums.dtype
    clip = splat(dtype.type(_CLIP))
    least = splat(np.exp(dtype.type(_CLIP)))
    start = candidate_start[begin]
    number = candidate_start[after] - start
    prior = out[0]
    for n in range(number):
        prior[n] = log_prior[candidate_group[start + n]]
    joint = out[7]
    for g in range(2):
        of_model = columns - 2 + g
        for n in range(number):
            joint[n] = sums[n * columns + of_model] + prior[n]
        logs, shares, by_root = out[1 + g], out[3 + g], out[5 + g]
        for t in range(begin, after):
            first, end = candidate_start[t] - start, candidate_start[t + 1] - start
            softmax(joint, first, end, shares, logs)
            per_root = splat(dtype.type(1) / root_answers[t])
            for i in range(first, end, LANES):
                store(logs, i, maximum(load(logs, i), clip))
                store(shares, i, maximum(load(shares, i), least))
                store(by_root, i, maximum(load(joint, i) * per_root, clip))
