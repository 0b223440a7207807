"""Products with small matrices, and norms, for compiled loops over nodes.

About as fast as BLAS on rows of this size, without arrays between the steps.
Letters: N rows, F features, H outputs, D width.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.product_blocks import add_block, block_rows
from crowdfm_core.backends.vector_memory import load, store
from crowdfm_core.backends.vectors import LANES, splat, sum_lanes

__all__ = ["ROWS", "add_rows", "normalise_rows"]

ROWS = 8  # rows that share the weights that are loaded, at most


@numba.njit(cache=True)
def add_rows(x, weight, out, number):  # pragma: no cover
    """Add x @ weight to the first `number` rows of out: x [N, F], weight [F, H], out [N, H].

    H is a multiple of the lanes. Rows are taken some at a time, up to ROWS, so N is large enough
    for that, and what follows the last row is overwritten. Every row is summed in the same order.
    """
    features, width = weight.shape
    stride = x.shape[1]
    rows = block_rows(out)
    for n in range(0, number, rows):
        for j in range(0, width, LANES):
            add_block(x, n * stride, stride, weight, j, width, features, out, n * width + j)


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
def normalise_rows(x, at, number, norm, out, out_at, columns):  # pragma: no cover
    """Write the layer norms (epsilon 1e-5) of so many rows that stand in x.flat from `at` on to
    out.flat from `out_at` on, `columns` behind each other; norm [3, D] as of `wide_norm`.

    Four rows at a time, as each step of one waits for the step before. Every row is summed in the
    same order.
    """
    dtype = x.dtype
    width = norm.shape[1]
    one, epsilon = dtype.type(1), dtype.type(1e-5)
    for n in range(0, number, 4):
        n1, n2, n3 = min(n + 1, number - 1), min(n + 2, number - 1), min(n + 3, number - 1)
        at0, at1 = at + n * width, at + n1 * width
        at2, at3 = at + n2 * width, at + n3 * width
        out0, out1 = out_at + n * columns, out_at + n1 * columns
        out2, out3 = out_at + n2 * columns, out_at + n3 * columns
        sum0 = sum1 = sum2 = sum3 = splat(dtype.type(0))
        for d in range(0, width, LANES):
            share = load(norm, 2 * width + d)
            sum0, sum1 = sum0 + load(x, at0 + d) * share, sum1 + load(x, at1 + d) * share
            sum2, sum3 = sum2 + load(x, at2 + d) * share, sum3 + load(x, at3 + d) * share
        mean0, mean1 = splat(sum_lanes(sum0)), splat(sum_lanes(sum1))
        mean2, mean3 = splat(sum_lanes(sum2)), splat(sum_lanes(sum3))
        sum0 = sum1 = sum2 = sum3 = splat(dtype.type(0))
        for d in range(0, width, LANES):
            share = load(norm, 2 * width + d)
            x0, x1 = load(x, at0 + d) - mean0, load(x, at1 + d) - mean1
            x2, x3 = load(x, at2 + d) - mean2, load(x, at3 + d) - mean3
            sum0, sum1 = sum0 + x0 * x0 * share, sum1 + x1 * x1 * share
            sum2, sum3 = sum2 + x2 * x2 * share, sum3 + x3 * x3 * share
        by0 = splat(one / np.sqrt(sum_lanes(sum0) + epsilon))
        by1 = splat(one / np.sqrt(sum_lanes(sum1) + epsilon))
        by2 = splat(one / np.sqrt(sum_lanes(sum2) + epsilon))
        by3 = splat(one / np.sqrt(sum_lanes(sum3) + epsilon))
        for d in range(0, width, LANES):
            scale, shift = load(norm, d), load(norm, width + d)
            store(out, out0 + d, (load(x, at0 + d) - mean0) * by0 * scale + shift)
            store(out, out1 + d, (load(x, at1 + d) - mean1) * by1 * scale + shift)
            store(out, out2 + d, (load(x, at2 + d) - mean2) * by2 * scale + shift)
            store(out, out3 + d, (load(x, at3 + d) - mean3) * by3 * scale + shift)
