"""Products with small matrices, and norms, for compiled loops over nodes.

About as fast as BLAS on rows of this size, without arrays between the steps.
Letters: N rows, F features, H outputs, D width.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.vector_memory import load, load_everywhere, store
from crowdfm_core.backends.vectors import LANES, splat, sum_lanes

__all__ = ["ROWS", "add_rows", "normalise"]

ROWS = 8  # rows that share the weights that are loaded


@numba.njit(cache=True, fastmath={"contract"})
def add_rows(x, weight, out, number):  # pragma: no cover
    """Add x @ weight to the first `number` rows of out: x [N, F], weight [F, H], out [N, H].

    H is a multiple of the lanes. Rows are taken eight at a time, so N is large enough for that, and
    what follows the last row is overwritten. Every row is summed in the same order.
    """
    features, width = weight.shape
    flat = x.reshape(-1)
    stride = x.shape[1]
    for n in range(0, number, ROWS):
        for j in range(0, width, LANES):
            at = n * width + j
            sum0, sum1 = load(out, at), load(out, at + width)
            sum2, sum3 = load(out, at + 2 * width), load(out, at + 3 * width)
            sum4, sum5 = load(out, at + 4 * width), load(out, at + 5 * width)
            sum6, sum7 = load(out, at + 6 * width), load(out, at + 7 * width)
            for i in range(features):
                row = load(weight, i * width + j)
                place = n * stride + i
                sum0 = sum0 + load_everywhere(flat, place) * row
                sum1 = sum1 + load_everywhere(flat, place + stride) * row
                sum2 = sum2 + load_everywhere(flat, place + 2 * stride) * row
                sum3 = sum3 + load_everywhere(flat, place + 3 * stride) * row
                sum4 = sum4 + load_everywhere(flat, place + 4 * stride) * row
                sum5 = sum5 + load_everywhere(flat, place + 5 * stride) * row
                sum6 = sum6 + load_everywhere(flat, place + 6 * stride) * row
                sum7 = sum7 + load_everywhere(flat, place + 7 * stride) * row
            store(out, at, sum0)
            store(out, at + width, sum1)
            store(out, at + 2 * width, sum2)
            store(out, at + 3 * width, sum3)
            store(out, at + 4 * width, sum4)
            store(out, at + 5 * width, sum5)
            store(out, at + 6 * width, sum6)
            store(out, at + 7 * width, sum7)


@numba.njit(cache=True, inline="always")
def normalise(x, at, norm, out, out_at, width):  # pragma: no cover
    """Write the layer norm (epsilon 1e-5) of x[at : at + D] to `out`; norm as of `wide_norm`."""
    dtype = x.dtype
    total = squares = splat(dtype.type(0))
    for d in range(0, width, LANES):
        total = total + load(x, at + d) * load(norm, 2 * width + d)
    mean = splat(sum_lanes(total))
    for d in range(0, width, LANES):
        centred = load(x, at + d) - mean
        squares = squares + centred * centred * load(norm, 2 * width + d)
    variance = sum_lanes(squares)
    factor = splat(dtype.type(1) / np.sqrt(variance + dtype.type(1e-5)))
    for d in range(0, width, LANES):
        scaled = (load(x, at + d) - mean) * factor * load(norm, d)
        store(out, out_at + d, scaled + load(norm, width + d))
