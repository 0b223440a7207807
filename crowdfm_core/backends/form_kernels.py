"""Quadratic forms of many rows, for inference on the CPU. float32 or float64 alike.

Letters: N rows, H heads, D width.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.vector_memory import load, load_everywhere, store
from crowdfm_core.backends.vectors import LANES, splat

__all__ = ["quadratic_forms"]

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def quadratic_forms(x, square, linear):  # pragma: no cover
    """Return x[n] A_h x[n] + x[n] b_h for every row and head, [N, H]; square [D, H*D] holds the
    A_h side by side, linear [D, H] the b_h.

    Sixteen rows at a time, a lane each; entries (i, j) and (j, i) of a matrix are taken together.
    """
    rows, width = x.shape
    heads = linear.shape[1]
    groups = (heads + 3) // 4
    out = np.empty((rows, heads), x.dtype)
    upper = np.zeros((groups, width, width, 4), x.dtype)
    first = np.zeros((groups, width, 4), x.dtype)
    for h in range(heads):
        for i in range(width):
            first[h // 4, i, h % 4] = linear[i, h]
            upper[h // 4, i, i, h % 4] = square[i, h * width + i]
            for j in range(i + 1, width):
                upper[h // 4, i, j, h % 4] = square[i, h * width + j] + square[j, h * width + i]
    flat_upper, flat_first = upper.reshape(-1), first.reshape(-1)
    for block in numba.prange((rows + LANES - 1) // LANES):
        begin = block * LANES
        number = min(LANES, rows - begin)
        columns = np.zeros((width, LANES), x.dtype)
        forms = np.empty((4, LANES), x.dtype)
        for n in range(number):
            for i in range(width):
                columns[i, n] = x[begin + n, i]
        for g in range(groups):
            all0 = all1 = all2 = all3 = splat(x.dtype.type(0))
            for i in range(width):
                at = 4 * (g * width + i)
                sum0, sum1 = load_everywhere(flat_first, at), load_everywhere(flat_first, at + 1)
                sum2, sum3 = (
                    load_everywhere(flat_first, at + 2),
                    load_everywhere(flat_first, at + 3),
                )
                for j in range(i, width):
                    at = 4 * ((g * width + i) * width + j)
                    column = load(columns, LANES * j)
                    sum0 = sum0 + load_everywhere(flat_upper, at) * column
                    sum1 = sum1 + load_everywhere(flat_upper, at + 1) * column
                    sum2 = sum2 + load_everywhere(flat_upper, at + 2) * column
                    sum3 = sum3 + load_everywhere(flat_upper, at + 3) * column
                column = load(columns, LANES * i)
                all0, all1 = all0 + column * sum0, all1 + column * sum1
                all2, all3 = all2 + column * sum2, all3 + column * sum3
            store(forms, 0, all0)
            store(forms, LANES, all1)
            store(forms, 2 * LANES, all2)
            store(forms, 3 * LANES, all3)
            for n in range(number):
                for h in range(4 * g, min(heads, 4 * g + 4)):
                    out[begin + n, h] = forms[h - 4 * g, n]
    return out
