"""One side of a layer of the attention model in one pass, for inference on the CPU.

Queries, weighted sums and messages of a centre never leave the processor's cache, where
`AttentionModel` writes arrays of centres x heads x width. float32 or float64 alike.
Letters as in kernels.py.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.kernels import dot
from crowdfm_core.backends.products import add_products, normalise

__all__ = ["quadratic_forms", "update_centres"]

_FAST = {"reassoc", "contract", "nsz", "arcp"}
_BLOCK = 16  # centres whose products with a matrix are taken together
_TILE = 64  # annotations whose scores are held at once; the running maximum moves per tile


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


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def update_centres(
    centre,
    z,
    query_weight,
    tables,
    option_bias,
    neighbour_bias,
    own_weight,
    neighbour_weight,
    option_messages,
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
    """Next states [C, D] of the centres [C, D], whose annotations lead to the neighbours z [N, D].

    query_weight [D, H*D]; tables [K, H, D] and option_bias [K, H]: the options' part of the
    score; neighbour_bias [P, H] of the neighbours' pairs. own_weight [D, D], neighbour_weight
    [H*D, D] and option_messages [K, H, D]: parts of the value after the output projection;
    value_bias and output_bias [D], output_scale [C] what the latter is multiplied by.
    """
    width, heads = centre.shape[1], tables.shape[1]
    dtype = centre.dtype
    zero = dtype.type(0)
    out = np.empty_like(centre)
    for chunk in numba.prange(len(chunk_start) - 1):
        top = np.empty(heads, dtype)
        total = np.empty(heads, dtype)
        pair_total = np.empty(heads, dtype)
        own_bias = np.empty(heads, dtype)
        scores = np.empty((_TILE, heads), dtype)
        flat_queries = np.empty((_BLOCK, heads * width), dtype)
        queries = flat_queries.reshape((_BLOCK, heads, width))
        flat_sums = np.empty((_BLOCK, heads * width), dtype)
        z_sums = flat_sums.reshape((_BLOCK, heads, width))
        option_sum = np.empty((heads, width), dtype)
        messages = np.empty((_BLOCK, width), dtype)
        own = np.empty((_BLOCK, width), dtype)
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _BLOCK):
            number = min(_BLOCK, chunk_start[chunk + 1] - begin)
            flat_queries[:] = zero
            flat_sums[:] = zero
            add_products(centre[begin : begin + number], query_weight, flat_queries, number)
            for b in range(number):
                c = begin + b
                for h in range(heads):
                    top[h] = -np.inf
                    total[h] = zero
                    for d in range(width):
                        option_sum[h, d] = zero
                for p in range(pair_start[c], pair_start[c + 1]):
                    o = pair_option[p]
                    for h in range(heads):
                        pair_total[h] = zero
                        own_bias[h] = dot(centre[c], tables[o, h], width) + option_bias[o, h]
                    for first in range(entry_start[p], entry_start[p + 1], _TILE):
                        size = min(_TILE, entry_start[p + 1] - first)
                        for i in range(size):
                            row = z[neighbour[first + i]]
                            other = neighbour_pair[first + i]
                            for h in range(heads):
                                scores[i, h] = (
                                    dot(row, queries[b, h], width)
                                    + own_bias[h]
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
                                    z_sums[b, h, d] *= rescale
                                    option_sum[h, d] *= rescale
                                top[h] = tile_top
                            tile_total = zero
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
                                    z_sums[b, h, d] += weight * row[d]
                    for h in range(heads):
                        weight = pair_total[h]
                        for d in range(width):
                            option_sum[h, d] += weight * option_messages[o, h, d]
                # A centre without annotations has no value, and no part of the centre in it.
                has_any = pair_start[c + 1] > pair_start[c]
                for d in range(width):
                    messages[b, d] = output_scale[c] * output_bias[d] + has_any * value_bias[d]
                    own[b, d] = has_any * centre[c, d]
                if has_any:
                    for h in range(heads):
                        share = 1 / total[h]
                        for d in range(width):
                            z_sums[b, h, d] *= share
                            messages[b, d] += share * option_sum[h, d]
            add_products(own, own_weight, messages, number)
            add_products(flat_sums, neighbour_weight, messages, number)
            for b in range(number):
                for d in range(width):
                    messages[b, d] += centre[begin + b, d]
                normalise(messages[b], norm_scale, norm_shift, out[begin + b])
    return out
