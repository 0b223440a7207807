"""Compiled loops over annotations; nothing here builds an array of size E x H x D.

Letters as in graph.py, and H heads, D width; C and N count the centres and the neighbours of a
side. Every kernel takes float32 or float64 arrays alike, is compiled once per machine (cached on
disk) and adds up in an order that depends on the graph alone, never on the number of threads.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "attention_backward_centre",
    "attention_backward_neighbour",
    "attention_forward",
    "pair_scores_backward",
    "pair_scores_forward",
]

# Lets the compiler reorder sums inside one dot product; infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_TILE = 64  # annotations whose scores are held at once; the running maximum moves per tile


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def _dot(a, b, width):  # pragma: no cover
    total = a[0] * b[0]
    for d in range(1, width):
        total += a[d] * b[d]
    return total


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def pair_scores_forward(z, tables, pair_node, pair_option):  # pragma: no cover
    """Return <z[n], tables[o, h]> for every pair (n, o): [P, H] from z [N, D], tables [K, H, D]."""
    heads, width = tables.shape[1], tables.shape[2]
    out = np.empty((len(pair_node), heads), z.dtype)
    for p in numba.prange(len(pair_node)):
        row = z[pair_node[p]]
        for h in range(heads):
            out[p, h] = _dot(row, tables[pair_option[p], h], width)
    return out


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def pair_scores_backward(grad, z, tables, pair_start, pair_option, chunk_start):  # pragma: no cover
    """Return the gradients of z [N, D] and tables [K, H, D] from that of the pairs [P, H]."""
    options, heads, width = tables.shape
    chunks = len(chunk_start) - 1
    grad_z = np.zeros_like(z)
    # A private copy per group of chunks keeps the sum deterministic without locks.
    groups = min(chunks, 8)
    partial = np.zeros((groups, options, heads, width), z.dtype)
    for group in numba.prange(groups):
        for chunk in range(group * chunks // groups, (group + 1) * chunks // groups):
            for n in range(chunk_start[chunk], chunk_start[chunk + 1]):
                for p in range(pair_start[n], pair_start[n + 1]):
                    o = pair_option[p]
                    for h in range(heads):
                        g = grad[p, h]
                        for d in range(width):
                            grad_z[n, d] += g * tables[o, h, d]
                            partial[group, o, h, d] += g * z[n, d]
    return grad_z, partial.sum(0)


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def attention_forward(
    queries,
    z,
    options,
    centre_bias,
    neighbour_bias,
    pair_start,
    pair_option,
    entry_start,
    neighbour,
    neighbour_pair,
    chunk_start,
):  # pragma: no cover
    """Softmax over the annotations of each centre, applied to neighbour and option vectors.

    score[e, h] = <queries[c, h], z[n]> + centre_bias[pair of (c, o), h]
                  + neighbour_bias[pair of (n, o), h]
    Takes queries [C, H, D], z [N, D], options [K, D], biases [P, H]. Returns the log of the sum
    of exp(score) [C, H] (-inf for a centre without annotations), and the softmax-weighted sums of
    z and of options, both [C, H, D].
    """
    centres, heads, width = queries.shape
    log_sum = np.full((centres, heads), -np.inf, z.dtype)
    z_sum = np.zeros((centres, heads, width), z.dtype)
    option_sum = np.zeros((centres, heads, width), z.dtype)
    for chunk in numba.prange(len(chunk_start) - 1):
        top = np.empty(heads, z.dtype)
        total = np.empty(heads, z.dtype)
        pair_total = np.empty(heads, z.dtype)
        scores = np.empty((_TILE, heads), z.dtype)
        for c in range(chunk_start[chunk], chunk_start[chunk + 1]):
            top[:] = -np.inf
            total[:] = 0
            for p in range(pair_start[c], pair_start[c + 1]):
                pair_total[:] = 0
                for first in range(entry_start[p], entry_start[p + 1], _TILE):
                    size = min(_TILE, entry_start[p + 1] - first)
                    for i in range(size):
                        row = z[neighbour[first + i]]
                        other = neighbour_pair[first + i]
                        for h in range(heads):
                            scores[i, h] = (
                                _dot(row, queries[c, h], width)
                                + centre_bias[p, h]
                                + neighbour_bias[other, h]
                            )
                    for h in range(heads):
                        tile_top = scores[0, h]
                        for i in range(1, size):
                            tile_top = max(tile_top, scores[i, h])
                        if tile_top > top[h]:
                            rescale = np.exp(top[h] - tile_top)
                            total[h] *= rescale
                            pair_total[h] *= rescale
                            for d in range(width):
                                z_sum[c, h, d] *= rescale
                                option_sum[c, h, d] *= rescale
                            top[h] = tile_top
                        tile_total = scores[0, h] * 0
                        for i in range(size):
                            scores[i, h] = np.exp(scores[i, h] - top[h])
                            tile_total += scores[i, h]
                        total[h] += tile_total
                        pair_total[h] += tile_total
                    for i in range(size):
                        row = z[neighbour[first + i]]
                        for h in range(heads):
                            weight = scores[i, h]
                            for d in range(width):
                                z_sum[c, h, d] += weight * row[d]
                row = options[pair_option[p]]
                for h in range(heads):
                    weight = pair_total[h]
                    for d in range(width):
                        option_sum[c, h, d] += weight * row[d]
            if pair_start[c + 1] > pair_start[c]:
                for h in range(heads):
                    log_sum[c, h] = top[h] + np.log(total[h])
                    share = 1 / total[h]
                    for d in range(width):
                        z_sum[c, h, d] *= share
                        option_sum[c, h, d] *= share
    return log_sum, z_sum, option_sum


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def attention_backward_centre(
    queries,
    z,
    options,
    centre_bias,
    neighbour_bias,
    log_sum,
    z_sum,
    option_sum,
    grad_z_sum,
    grad_option_sum,
    pair_start,
    pair_option,
    entry_start,
    neighbour,
    neighbour_pair,
    chunk_start,
):  # pragma: no cover
    """First half of the gradient: that of queries [C, H, D] and centre_bias [P, H].

    Also returns the attention [E, H] and the gradient of the scores [E, H], which
    `attention_backward_neighbour` needs. The scores are computed again rather than kept.
    """
    heads, width = queries.shape[1:]
    grad_queries = np.zeros_like(queries)
    grad_bias = np.zeros_like(centre_bias)
    attention = np.empty((len(neighbour), heads), z.dtype)
    grad_score = np.empty((len(neighbour), heads), z.dtype)
    for chunk in numba.prange(len(chunk_start) - 1):
        mean = np.empty(heads, z.dtype)
        from_option = np.empty(heads, z.dtype)
        for c in range(chunk_start[chunk], chunk_start[chunk + 1]):
            for h in range(heads):
                mean[h] = _dot(grad_z_sum[c, h], z_sum[c, h], width) + _dot(
                    grad_option_sum[c, h], option_sum[c, h], width
                )
            for p in range(pair_start[c], pair_start[c + 1]):
                for h in range(heads):
                    from_option[h] = (
                        _dot(grad_option_sum[c, h], options[pair_option[p]], width) - mean[h]
                    )
                for e in range(entry_start[p], entry_start[p + 1]):
                    row = z[neighbour[e]]
                    other = neighbour_pair[e]
                    for h in range(heads):
                        score = (
                            _dot(row, queries[c, h], width)
                            + centre_bias[p, h]
                            + neighbour_bias[other, h]
                        )
                        weight = np.exp(score - log_sum[c, h])
                        slope = weight * (_dot(grad_z_sum[c, h], row, width) + from_option[h])
                        attention[e, h] = weight
                        grad_score[e, h] = slope
                        grad_bias[p, h] += slope
                        for d in range(width):
                            grad_queries[c, h, d] += slope * row[d]
    return grad_queries, grad_bias, attention, grad_score


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def attention_backward_neighbour(
    queries,
    grad_z_sum,
    attention,
    grad_score,
    pair_start,
    entry_start,
    neighbour,
    other_entry,
    chunk_start,
):  # pragma: no cover
    """Second half, walked along the neighbours' side (whose own neighbours are the centres).

    Returns the gradients of z [N, D] and of neighbour_bias [P, H].
    """
    heads, width = queries.shape[1], queries.shape[2]
    grad_z = np.zeros((len(pair_start) - 1, width), queries.dtype)
    grad_bias = np.zeros((len(entry_start) - 1, heads), queries.dtype)
    for chunk in numba.prange(len(chunk_start) - 1):
        for n in range(chunk_start[chunk], chunk_start[chunk + 1]):
            for p in range(pair_start[n], pair_start[n + 1]):
                for entry in range(entry_start[p], entry_start[p + 1]):
                    c = neighbour[entry]
                    e = other_entry[entry]
                    for h in range(heads):
                        slope = grad_score[e, h]
                        weight = attention[e, h]
                        grad_bias[p, h] += slope
                        for d in range(width):
                            grad_z[n, d] += slope * queries[c, h, d] + weight * grad_z_sum[c, h, d]
    return grad_z, grad_bias
