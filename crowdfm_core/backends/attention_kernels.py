"""Both sides of a layer of the attention model, for inference on the CPU.

Scores of four heads stand in one quad of a vector (vectors.py), so that no inner product is summed
across lanes head by head. Everything that is a product with a matrix is done once per node or
option, and nothing of size annotations x heads x width is written.

float32 or float64 alike. Letters as in kernels.py; G groups of four heads. D is a multiple of 16
here: narrower states are filled up with zeros, as a number of heads that four does not divide is.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.products import normalise
from crowdfm_core.backends.vectors import (
    LANES,
    any_above,
    exp,
    inverse,
    load,
    load_quad,
    maximum,
    quad_max,
    quad_sum,
    splat,
    spread,
    store,
    store_quad,
)

__all__ = ["sum_annotations", "update_centres"]

_FAST = {"reassoc", "contract", "nsz", "arcp"}
_ROWS = 4  # centres whose products with a matrix are taken together
_TILE = 64  # annotations whose scores are held at once


@numba.njit(cache=True, inline="always")
def _four_dots(row, row_at, table, table_at, width):  # pragma: no cover
    """Inner products of a row [D] with the four columns of a table [D, 4], in every quad."""
    sum0 = sum1 = sum2 = sum3 = splat(row.dtype.type(0))
    for i in range(0, width, LANES):
        x, at = load(row, row_at + i), table_at + 4 * i
        sum0 = sum0 + spread(x, 0) * load(table, at)
        sum1 = sum1 + spread(x, 1) * load(table, at + LANES)
        sum2 = sum2 + spread(x, 2) * load(table, at + 2 * LANES)
        sum3 = sum3 + spread(x, 3) * load(table, at + 3 * LANES)
    return quad_sum((sum0 + sum1) + (sum2 + sum3))


@numba.njit(cache=True, inline="always")
def _fill_up(scores, number):  # pragma: no cover
    """Return the end of `number` quads of scores as whole vectors, filled up with -infinity."""
    end = (4 * number + LANES - 1) // LANES * LANES
    for i in range(4 * number, end, 4):
        store_quad(scores, i, splat(scores.dtype.type(-np.inf)))
    return end


@numba.njit(cache=True, inline="always")
def _weigh(scores, end, top):  # pragma: no cover
    """Replace the scores by exp(score - top); return their sum per head, in every quad."""
    total = splat(scores.dtype.type(0))
    for i in range(0, end, LANES):
        weight = exp(load(scores, i) - top)
        store(scores, i, weight)
        total = total + weight
    return quad_sum(total)


@numba.njit(cache=True, inline="always")
def _highest(scores, end):  # pragma: no cover
    """Return the highest score per head, in every quad."""
    top = load(scores, 0)
    for i in range(LANES, end, LANES):
        top = maximum(top, load(scores, i))
    return quad_max(top)


@numba.njit(cache=True, inline="always")
def _message(weights, at, table, table_at, width):  # pragma: no cover
    """Part of a message: four weights times lanes of the rows of a table [4, D]."""
    return (
        splat(weights[at]) * load(table, table_at)
        + splat(weights[at + 1]) * load(table, table_at + width)
    ) + (
        splat(weights[at + 2]) * load(table, table_at + 2 * width)
        + splat(weights[at + 3]) * load(table, table_at + 3 * width)
    )


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def update_centres(
    centre,
    queries,
    option_queries,
    option_bias,
    neighbour_bias,
    messages,
    option_messages,
    own_weight,
    value_bias,
    output_bias,
    output_scale,
    norm_scale,
    norm_shift,
    pair_start,
    pair_option,
    entry_start,
    neighbour,
    neighbour_pair,
    chunk_start,
):  # pragma: no cover
    """Next states of the centres [C, D] from tables on their neighbours' side, for a side with
    many centres and few neighbours.

    The score of an annotation is <centre, queries[n] + option_queries[o]> + option_bias[o] +
    neighbour_bias[pair of (n, o)], and its message messages[n] + option_messages[o]: queries
    [N, G, D, 4] and [K, G, D, 4], messages [N, G, 4, D] and [K, G, 4, D], biases [K, G, 4] and
    [P, G, 4]. own_weight [D, D]: the centre's part of the value; value_bias, output_bias [D];
    output_scale [C]: what the latter is multiplied by; norms as wide as states are, filling apart.
    """
    width, groups = centre.shape[1], queries.shape[1]
    dtype = centre.dtype
    zero = splat(dtype.type(0))
    out = np.empty((len(centre), len(norm_scale)), dtype)
    for chunk in numba.prange(len(chunk_start) - 1):
        scores = np.empty(4 * _TILE, dtype)
        pair_weights = np.empty(4 * _TILE, dtype)
        own = np.empty(_ROWS * width, dtype)
        total = np.empty(width, dtype)
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _ROWS):
            last = chunk_start[chunk + 1] - 1
            _rows_times(centre, begin, last, own_weight, own, width)
            for c in range(begin, min(begin + _ROWS, last + 1)):
                first_pair, end_pair = pair_start[c], pair_start[c + 1]
                first, size = (
                    entry_start[first_pair],
                    entry_start[end_pair] - entry_start[first_pair],
                )
                if 4 * size > len(scores) - LANES:
                    scores = np.empty(8 * size + LANES, dtype)
                    pair_weights = np.empty(8 * size, dtype)
                scale = splat(output_scale[c])
                for d in range(0, width, LANES):
                    store(total, d, load(centre, c * width + d) + scale * load(output_bias, d))
                if size > 0:
                    for d in range(0, width, LANES):
                        own_part = load(own, (c - begin) * width + d) + load(value_bias, d)
                        store(total, d, load(total, d) + own_part)
                    for g in range(groups):
                        for p in range(first_pair, end_pair):
                            at = 4 * (pair_option[p] * groups + g)
                            of_option = _four_dots(
                                centre, c * width, option_queries, at * width, width
                            ) + load_quad(option_bias, at)
                            for e in range(entry_start[p], entry_start[p + 1]):
                                score = _four_dots(
                                    centre,
                                    c * width,
                                    queries,
                                    4 * (neighbour[e] * groups + g) * width,
                                    width,
                                )
                                bias = load_quad(
                                    neighbour_bias, 4 * (neighbour_pair[e] * groups + g)
                                )
                                store_quad(scores, 4 * (e - first), score + (of_option + bias))
                        end = _fill_up(scores, size)
                        sums = _weigh(scores, end, _highest(scores, end))
                        share = inverse(sums)
                        for i in range(0, end, LANES):
                            store(scores, i, load(scores, i) * share)
                        for p in range(first_pair, end_pair):
                            weight = zero
                            for e in range(entry_start[p], entry_start[p + 1]):
                                weight = weight + load_quad(scores, 4 * (e - first))
                            store_quad(pair_weights, 4 * (p - first_pair), weight)
                        for d in range(0, width, LANES):
                            part = load(total, d)
                            for i in range(size):
                                at = 4 * (neighbour[first + i] * groups + g) * width + d
                                part = part + _message(scores, 4 * i, messages, at, width)
                            for p in range(first_pair, end_pair):
                                at = 4 * (pair_option[p] * groups + g) * width + d
                                i = 4 * (p - first_pair)
                                part = part + _message(pair_weights, i, option_messages, at, width)
                            store(total, d, part)
                normalise(total, norm_scale, norm_shift, out[c])
    return out


@numba.njit(cache=True, inline="always")
def _rows_times(x, begin, last, weight, out, width):  # pragma: no cover
    """Write four rows of x [N, D] from `begin` on, times weight [D, D], to out [4 D]; rows past
    the last repeat it."""
    at0, at1 = begin * width, min(begin + 1, last) * width
    at2, at3 = min(begin + 2, last) * width, min(begin + 3, last) * width
    flat = x.reshape(-1)
    for d in range(0, width, LANES):
        sum0 = sum1 = sum2 = sum3 = splat(x.dtype.type(0))
        for i in range(width):
            row = load(weight, i * width + d)
            sum0 = sum0 + splat(flat[at0 + i]) * row
            sum1 = sum1 + splat(flat[at1 + i]) * row
            sum2 = sum2 + splat(flat[at2 + i]) * row
            sum3 = sum3 + splat(flat[at3 + i]) * row
        store(out, d, sum0)
        store(out, width + d, sum1)
        store(out, 2 * width + d, sum2)
        store(out, 3 * width + d, sum3)


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def sum_annotations(
    centre,
    queries,
    centre_table,
    option_bias,
    neighbours,
    neighbour_table,
    neighbour_bias,
    options,
    pair_start,
    pair_option,
    entry_start,
    neighbour,
    chunk_start,
):  # pragma: no cover
    """Softmax over the annotations of each centre, applied to neighbour and option vectors, for a
    side with few centres and many neighbours.

    The score of an annotation is <queries[c] + neighbour_table[o], neighbours[n]> +
    neighbour_bias[n] + <centre_table[o], centre[c]> + option_bias[o]: queries [C, G, D, 4], tables
    [K, G, D, 4], centre [C, D], neighbours [N, D], biases [N, G, 4] and [K, G, 4], options [K, D].
    Returns the log of the sum of exp(score) [C, G, 4] (-inf for a centre without annotations), and
    the softmax-weighted sums of neighbours and of options, both [C, G, 4, D].
    """
    centres, groups, width = queries.shape[:3]
    dtype = centre.dtype
    log_sum = np.full((centres, groups, 4), -np.inf, dtype)
    sums = np.zeros((2, centres, groups, 4, width), dtype)
    second = centres * groups * 4 * width  # where the sums of options begin
    for chunk in numba.prange(len(chunk_start) - 1):
        scores = np.empty(4 * _TILE, dtype)
        query = np.empty(4 * width, dtype)
        factors = np.empty(4, dtype)
        for c in range(chunk_start[chunk], chunk_start[chunk + 1]):
            first_pair, end_pair = pair_start[c], pair_start[c + 1]
            if first_pair == end_pair:
                continue
            for g in range(groups):
                to = 4 * (c * groups + g) * width
                top, total = splat(dtype.type(-np.inf)), splat(dtype.type(0))
                for p in range(first_pair, end_pair):
                    at = 4 * (pair_option[p] * groups + g)
                    for i in range(0, 4 * width, LANES):
                        table = load(neighbour_table, at * width + i)
                        store(query, i, load(queries, to + i) + table)
                    own = _four_dots(centre, c * width, centre_table, at * width, width)
                    own = own + load_quad(option_bias, at)
                    pair_total = splat(dtype.type(0))
                    for first in range(entry_start[p], entry_start[p + 1], _TILE):
                        size = min(_TILE, entry_start[p + 1] - first)
                        for i in range(size):
                            n = neighbour[first + i]
                            score = _four_dots(neighbours, n * width, query, 0, width)
                            bias = load_quad(neighbour_bias, 4 * (n * groups + g))
                            store_quad(scores, 4 * i, score + (own + bias))
                        end = _fill_up(scores, size)
                        highest = maximum(top, _highest(scores, end))
                        if any_above(highest, top):
                            factor = exp(top - highest)
                            total, pair_total = total * factor, pair_total * factor
                            store_quad(factors, 0, factor)
                            _rescale(sums, to, second, factors, width)
                            top = highest
                        tile_total = _weigh(scores, end, top)
                        total, pair_total = total + tile_total, pair_total + tile_total
                        for d in range(0, width, LANES):
                            at = to + d
                            sum0, sum1 = load(sums, at), load(sums, at + width)
                            sum2, sum3 = load(sums, at + 2 * width), load(sums, at + 3 * width)
                            for i in range(size):
                                row = load(neighbours, neighbour[first + i] * width + d)
                                sum0 = sum0 + splat(scores[4 * i]) * row
                                sum1 = sum1 + splat(scores[4 * i + 1]) * row
                                sum2 = sum2 + splat(scores[4 * i + 2]) * row
                                sum3 = sum3 + splat(scores[4 * i + 3]) * row
                            store(sums, at, sum0)
                            store(sums, at + width, sum1)
                            store(sums, at + 2 * width, sum2)
                            store(sums, at + 3 * width, sum3)
                    store_quad(factors, 0, pair_total)
                    for h in range(4):
                        weight = splat(factors[h])
                        for d in range(0, width, LANES):
                            at = second + to + h * width + d
                            row = load(options, pair_option[p] * width + d)
                            store(sums, at, load(sums, at) + weight * row)
                store_quad(log_sum, 4 * (c * groups + g), top)
                store_quad(factors, 0, total)
                for h in range(4):
                    log_sum[c, g, h] += np.log(factors[h])
                    factors[h] = 1 / factors[h]
                _rescale(sums, to, second, factors, width)
    return log_sum, sums[0], sums[1]


@numba.njit(cache=True, inline="always")
def _rescale(sums, at, second, factors, width):  # pragma: no cover
    """Multiply both sums of one centre, [4, D] from `at` and from second + at on, by the factors of
    the heads [4]."""
    for h in range(4):
        factor = splat(factors[h])
        for d in range(at + h * width, at + (h + 1) * width, LANES):
            store(sums, d, load(sums, d) * factor)
            store(sums, second + d, load(sums, second + d) * factor)
