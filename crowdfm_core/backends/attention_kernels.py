"""One side of a layer of the attention model in one pass, for inference on the CPU.

Where centres are many and their neighbours few, everything that is a product with a matrix is
done once per neighbour or option, and nothing of size centres x heads x width is written.
float32 or float64 alike. Letters as in kernels.py; G groups of four heads.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.products import add_products, normalise

__all__ = ["quadratic_forms", "update_centres"]

_FAST = {"reassoc", "contract", "nsz", "arcp"}
_BLOCK = 16  # centres whose products with a matrix are taken together
_TILE = 64  # annotations of a centre whose scores find room at first


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def quadratic_forms(x, square, linear):  # pragma: no cover
    """Return x[n] A_h x[n] + x[n] b_h for every row and head, [N, H]; square [D, H*D] holds the
    A_h side by side, linear [D, H] the b_h."""
    rows, width = x.shape
    heads = linear.shape[1]
    out = np.zeros((rows, heads), x.dtype)
    for block in numba.prange((rows + _BLOCK - 1) // _BLOCK):
        begin = block * _BLOCK
        number = min(_BLOCK, rows - begin)
        products = np.zeros((_BLOCK, heads * width), x.dtype)
        add_products(x[begin : begin + number], square, products, number)
        add_products(x[begin : begin + number], linear, out[begin : begin + number], number)
        for n in range(number):
            for h in range(heads):
                total = out[begin + n, h]
                for d in range(width):
                    total += products[n, h * width + d] * x[begin + n, d]
                out[begin + n, h] = total
    return out


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def _four_dots(row, table, width):  # pragma: no cover
    """Inner products of row [D] with the four rows of table [4, D]."""
    a, b, c, d = row[0] * 0, row[0] * 0, row[0] * 0, row[0] * 0
    for i in range(width):
        x = row[i]
        a += x * table[0, i]
        b += x * table[1, i]
        c += x * table[2, i]
        d += x * table[3, i]
    return a, b, c, d


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
    """Next states [C, D] of the centres [C, D] from tables on their neighbours' side.

    Heads come in G groups of four. The score of an annotation is <centre, queries[n] +
    option_queries[o]> + option_bias[o] + neighbour_bias[pair of (n, o)], and its message
    messages[n] + option_messages[o]: queries and messages [N, G, 4, D], those of options
    [K, G, 4, D], biases [K, G, 4] and [P, G, 4]. own_weight [D, D]: the centre's part of the value;
    value_bias, output_bias [D]; output_scale [C]: what the latter is multiplied by.
    """
    width, groups = centre.shape[1], queries.shape[1]
    dtype = centre.dtype
    zero = dtype.type(0)
    out = np.empty_like(centre)
    for chunk in numba.prange(len(chunk_start) - 1):
        # Local arrays, as sums that are written to an argument are not vectorised.
        scores = np.empty((_TILE, 4), dtype)
        sums = np.empty((_BLOCK, width), dtype)
        own = np.empty((_BLOCK, width), dtype)
        total = np.empty(width, dtype)
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _BLOCK):
            number = min(_BLOCK, chunk_start[chunk + 1] - begin)
            for b in range(number):
                c = begin + b
                row = centre[c]
                first = entry_start[pair_start[c]]
                size = entry_start[pair_start[c + 1]] - first
                if size > len(scores):
                    scores = np.empty((size, 4), dtype)
                for d in range(width):
                    total[d] = zero
                for g in range(groups):
                    top0 = top1 = top2 = top3 = dtype.type(-np.inf)
                    for p in range(pair_start[c], pair_start[c + 1]):
                        o = pair_option[p]
                        o0, o1, o2, o3 = _four_dots(row, option_queries[o, g], width)
                        bias = option_bias[o, g]
                        o0, o1, o2, o3 = o0 + bias[0], o1 + bias[1], o2 + bias[2], o3 + bias[3]
                        for e in range(entry_start[p], entry_start[p + 1]):
                            s0, s1, s2, s3 = _four_dots(row, queries[neighbour[e], g], width)
                            bias = neighbour_bias[neighbour_pair[e], g]
                            s0 += o0 + bias[0]
                            s1 += o1 + bias[1]
                            s2 += o2 + bias[2]
                            s3 += o3 + bias[3]
                            score = scores[e - first]
                            score[0], score[1], score[2], score[3] = s0, s1, s2, s3
                            top0, top1 = max(top0, s0), max(top1, s1)
                            top2, top3 = max(top2, s2), max(top3, s3)
                    all0 = all1 = all2 = all3 = zero
                    for i in range(size):
                        score = scores[i]
                        score[0] = np.exp(score[0] - top0)
                        score[1] = np.exp(score[1] - top1)
                        score[2] = np.exp(score[2] - top2)
                        score[3] = np.exp(score[3] - top3)
                        all0 += score[0]
                        all1 += score[1]
                        all2 += score[2]
                        all3 += score[3]
                    for p in range(pair_start[c], pair_start[c + 1]):
                        o0 = o1 = o2 = o3 = zero
                        for e in range(entry_start[p], entry_start[p + 1]):
                            score = scores[e - first]
                            s0, s1 = score[0] / all0, score[1] / all1
                            s2, s3 = score[2] / all2, score[3] / all3
                            o0 += s0
                            o1 += s1
                            o2 += s2
                            o3 += s3
                            table = messages[neighbour[e], g]
                            for d in range(width):
                                total[d] += (
                                    s0 * table[0, d]
                                    + s1 * table[1, d]
                                    + s2 * table[2, d]
                                    + s3 * table[3, d]
                                )
                        table = option_messages[pair_option[p], g]
                        for d in range(width):
                            total[d] += (
                                o0 * table[0, d]
                                + o1 * table[1, d]
                                + o2 * table[2, d]
                                + o3 * table[3, d]
                            )
                # A centre without annotations has no value, and so no part of it.
                has_any = dtype.type(size > 0)
                scale = output_scale[c]
                for d in range(width):
                    own[b, d] = has_any * row[d]
                    sums[b, d] = (
                        row[d] + total[d] + has_any * value_bias[d] + scale * output_bias[d]
                    )
            add_products(own, own_weight, sums, number)
            for b in range(number):
                normalise(sums[b], norm_scale, norm_shift, out[begin + b])
    return out
