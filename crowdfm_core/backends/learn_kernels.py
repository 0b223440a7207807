"""Compiled sums of what workers and options learn from the tasks, for inference on the CPU.

Letters: see candidates.py; D width, D' the width filled up with zeros to a multiple of 16.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.candidate_kernels import add_own_tasks, most_listed
from crowdfm_core.backends.products import add_rows, normalise_rows
from crowdfm_core.backends.vector_memory import load, store
from crowdfm_core.backends.vectors import LANES, as_double, splat

__all__ = ["learn_few_rows", "sum_groups", "task_values"]

# Lets the compiler reorder sums inside one product; infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_CHUNK = 128  # candidates; a multiple of the rows of a product
_PIECE = 8192  # candidates whose values stay in the processor's cache until they are summed


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def task_values(states, posterior, norm, weight, bias, narrow):  # pragma: no cover
    """What the rows sum in a layer, [C, D + 1] for D = narrow: u + p v of each candidate, and its
    posterior p.

    states [C, D'], posterior [C], norm as of `wide_norm`; [u; v] = LN(states) @ weight + bias,
    weight [D', 2 D'], bias [2 D'].
    """
    count, width = states.shape
    whole = narrow // LANES * LANES
    values = np.empty((count, narrow + 1), states.dtype)
    flat = values.reshape(-1)
    for chunk in numba.prange((count + _CHUNK - 1) // _CHUNK):
        normal = np.zeros((_CHUNK, width), states.dtype)
        products = np.empty((_CHUNK, 2 * width), states.dtype)
        begin = chunk * _CHUNK
        number = min(count - begin, _CHUNK)
        normalise_rows(states, begin * width, number, norm, normal, 0, width)
        for n in range(number):
            for d in range(0, 2 * width, LANES):
                store(products, n * 2 * width + d, load(bias, d))
        add_rows(normal, weight, products, number)
        for n in range(number):
            p, target = splat(posterior[begin + n]), (begin + n) * (narrow + 1)
            for d in range(0, width, LANES):
                at = n * 2 * width + d
                store(products, at, load(products, at) + p * load(products, at + width))
            for d in range(0, whole, LANES):
                store(flat, target + d, load(products, n * 2 * width + d))
            for d in range(whole, narrow):
                values[begin + n, d] = products[n, d]
            values[begin + n, narrow] = posterior[begin + n]
    return values


@numba.njit(cache=True, parallel=True)
def learn_few_rows(
    states,
    posterior,
    norm,
    weight,
    bias,
    narrow,
    first_pair,
    candidate_start,
    candidate_option,
    row_start,
    pair_start,
    pair_option,
    entry_start,
    neighbour_pair,
    is_tied,
    chunk_start,
):  # pragma: no cover
    """Sum `task_values`, which takes the first six, as `candidates_to_few_rows` does, which takes
    the others: [Q, D + 1]. Piece by piece, so that all values are never in memory."""
    tasks = chunk_start[-1]
    out = np.zeros((row_start[-1], narrow + 1), states.dtype)
    listed = most_listed(pair_start, entry_start)
    begin = 0
    while begin < tasks:
        first, end = candidate_start[begin], begin + 1
        while end < tasks and candidate_start[end + 1] - first <= _PIECE:
            end += 1
        piece = slice(first, candidate_start[end])
        values = task_values(states[piece], posterior[piece], norm, weight, bias, narrow)
        for group in numba.prange(len(first_pair) - 1):
            add_own_tasks(
                first_pair[group],
                first_pair[group + 1],
                begin,
                end,
                values,
                out,
                np.empty((listed, 3), np.int64),
                candidate_start,
                candidate_option,
                row_start,
                pair_start,
                pair_option,
                entry_start,
                neighbour_pair,
                is_tied,
            )
        begin = end
    return out


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def sum_groups(states, share, weighs, norm, group, num_groups, narrow, parts):  # pragma: no cover
    """Sum LN(states), times `share` [C] where it `weighs` them, and `share` by group [C], in
    float64: [num_groups, D + 1] for D = narrow.

    The rest as in `task_values`. Each of some parts, one per thread, walks all candidates and sums
    its own groups, so that no sum depends on their number.
    """
    count, width = states.shape
    one = states.dtype.type(1)
    sums = np.zeros((num_groups, width))
    total = np.zeros(num_groups)
    for part in numba.prange(parts):
        low, high = num_groups * part // parts, num_groups * (part + 1) // parts
        # Own candidates are listed first, as it cannot be foreseen which they are.
        own = np.empty(_CHUNK + 1, np.int64)
        listed = np.empty((_CHUNK, width), states.dtype)
        normal = np.empty((_CHUNK, width), states.dtype)
        for begin in range(0, count, _CHUNK):
            number = 0
            for c in range(begin, min(begin + _CHUNK, count)):
                own[number] = c
                number += int(group[c] >= low) & int(group[c] < high)
            for n in range(number):
                for d in range(0, width, LANES):
                    store(listed, n * width + d, load(states, own[n] * width + d))
            normalise_rows(listed, 0, number, norm, normal, 0, width)
            for n in range(number):
                g, of_candidate = group[own[n]], share[own[n]]
                factor = splat(of_candidate if weighs else one)
                for d in range(0, width, LANES):
                    at = g * width + d
                    value = as_double(factor * load(normal, n * width + d))
                    store(sums, at, load(sums, at) + value)
                total[g] += of_candidate
    out = np.empty((num_groups, narrow + 1), states.dtype)
    out[:, :narrow] = sums[:, :narrow]
    out[:, narrow] = total
    return out
