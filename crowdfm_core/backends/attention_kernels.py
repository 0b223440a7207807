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

from crowdfm_core.backends.products import normalise_rows
from crowdfm_core.backends.score_kernels import fill_up, filled, four_dots, highest, weigh
from crowdfm_core.backends.vector_memory import load, load_quad, prefetch, store, store_quad
from crowdfm_core.backends.vectors import LANES, any_above, exp, inverse, maximum, splat

__all__ = ["sum_annotations", "update_centres"]

_FAST = {"reassoc", "contract", "nsz", "arcp"}
_ROWS = 4  # centres whose products with a matrix are taken together
_AHEAD = 16  # annotations that memory is asked for before they are read
_TILE = 64  # annotations whose scores are held at once


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
    norm,
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
    output_scale [C]: what the latter is multiplied by; norm as of `wide_norm`.
    """
    width, groups = centre.shape[1], queries.shape[1]
    dtype = centre.dtype
    zero = splat(dtype.type(0))
    out = np.empty_like(centre)
    for chunk in numba.prange(len(chunk_start) - 1):
        most = 0
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _ROWS):
            after = min(begin + _ROWS, chunk_start[chunk + 1])
            most = max(most, entry_start[pair_start[after]] - entry_start[pair_start[begin]])
        scores = np.empty(4 * (most + 3 * _ROWS), dtype)
        pair_weights = np.empty(4 * most, dtype)
        own = np.empty(_ROWS * width, dtype)
        total = np.empty(_ROWS * width, dtype)
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _ROWS):
            last = chunk_start[chunk + 1] - 1
            after = min(begin + _ROWS, last + 1)
            _rows_times(centre, begin, last, own_weight, own, width)
            for c in range(begin, after):
                scale = splat(output_scale[c])
                has_any = splat(dtype.type(pair_start[c + 1] > pair_start[c]))
                for d in range(0, width, LANES):
                    at = (c - begin) * width + d
                    value = load(own, at) + load(value_bias, d)
                    bias = scale * load(output_bias, d)
                    store(total, at, load(centre, c * width + d) + has_any * value + bias)
            for g in range(groups):
                # Centre after centre in each step, so that what is stored has left the processor's
                # queue before it is read in other pieces.
                place = 0
                for c in range(begin, after):
                    for p in range(pair_start[c], pair_start[c + 1]):
                        at = 4 * (pair_option[p] * groups + g)
                        of_option = four_dots(
                            centre, c * width, option_queries, at * width, width
                        ) + load_quad(option_bias, at)
                        for e in range(entry_start[p], entry_start[p + 1]):
                            at = 4 * (neighbour[e] * groups + g) * width
                            score = four_dots(centre, c * width, queries, at, width)
                            at = 4 * (neighbour_pair[e] * groups + g)
                            score = score + (of_option + load_quad(neighbour_bias, at))
                            store_quad(scores, place, score)
                            place += 4
                    place = fill_up(scores, place)
                place = 0
                for c in range(begin, after):
                    end = place + filled(4 * _entries(c, pair_start, entry_start))
                    if end > place:
                        total_weight = weigh(scores, place, end, highest(scores, place, end))
                        share = inverse(total_weight)
                        for i in range(place, end, LANES):
                            store(scores, i, load(scores, i) * share)
                    place = end
                place = 0
                for c in range(begin, after):
                    first_pair, end_pair = pair_start[c], pair_start[c + 1]
                    first = entry_start[first_pair]
                    for p in range(first_pair, end_pair):
                        weight = zero
                        for e in range(entry_start[p], entry_start[p + 1]):
                            weight = weight + load_quad(scores, place + 4 * (e - first))
                        store_quad(pair_weights, 4 * (p - first_pair), weight)
                    size = entry_start[end_pair] - first
                    for d in range(0, width, LANES):
                        part = load(total, (c - begin) * width + d)
                        for i in range(size):
                            at = 4 * (neighbour[first + i] * groups + g) * width + d
                            part = part + _message(scores, place + 4 * i, messages, at, width)
                        for p in range(first_pair, end_pair):
                            at = 4 * (pair_option[p] * groups + g) * width + d
                            i = 4 * (p - first_pair)
                            part = part + _message(pair_weights, i, option_messages, at, width)
                        store(total, (c - begin) * width + d, part)
                    place += filled(4 * size)
            normalise_rows(total, 0, after - begin, norm, out, begin * width, width)
    return out


@numba.njit(cache=True, inline="always")
def _entries(c, pair_start, entry_start):  # pragma: no cover
    return entry_start[pair_start[c + 1]] - entry_start[pair_start[c]]


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
                    own = four_dots(centre, c * width, centre_table, at * width, width)
                    own = own + load_quad(option_bias, at)
                    pair_total = splat(dtype.type(0))
                    for first in range(entry_start[p], entry_start[p + 1], _TILE):
                        size = min(_TILE, entry_start[p + 1] - first)
                        for i in range(size):
                            soon = neighbour[min(first + i + _AHEAD, len(neighbour) - 1)]
                            prefetch(neighbour_bias, 4 * soon * groups)
                            for d in range(0, width, LANES):
                                prefetch(neighbours, soon * width + d)
                            n = neighbour[first + i]
                            score = four_dots(neighbours, n * width, query, 0, width)
                            bias = load_quad(neighbour_bias, 4 * (n * groups + g))
                            store_quad(scores, 4 * i, score + (own + bias))
                        end = fill_up(scores, 4 * size)
                        new_top = maximum(top, highest(scores, 0, end))
                        if any_above(new_top, top):
                            factor = exp(top - new_top)
                            total, pair_total = total * factor, pair_total * factor
                            store_quad(factors, 0, factor)
                            _rescale(sums, to, second, factors, width)
                            top = new_top
                        tile_total = weigh(scores, 0, end, top)
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
