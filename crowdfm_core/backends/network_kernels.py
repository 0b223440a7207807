"""Products, norms and networks of two layers on many rows, of either float type, on the CPU.

No row depends on the others, on any processor: BLAS takes kernels, and so orders of its sums, by
the number of rows and by their place.

Letters: N rows, F features, H hidden width, D outputs, S sources of what groups of rows share.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.products import add_rows, normalise_rows
from crowdfm_core.backends.vector_memory import load, store
from crowdfm_core.backends.vectors import LANES, maximum, splat

__all__ = ["layer_norm", "rows_times", "two_layers"]

_CHUNK = 128  # rows; a multiple of the rows of a product


@numba.njit(cache=True, parallel=True)
def layer_norm(x, norm, columns):  # pragma: no cover
    """Return the first columns of the layer norms of x [N, D'], norm as of `wide_norm`."""
    rows, width = x.shape
    out = np.empty((rows, columns), x.dtype)
    for chunk in numba.prange((rows + _CHUNK - 1) // _CHUNK):
        begin = chunk * _CHUNK
        number = min(rows - begin, _CHUNK)
        normal = np.empty((_CHUNK, width), x.dtype)
        normalise_rows(x, begin * width, number, norm, normal, 0, width)
        out[begin : begin + number] = normal[:number, :columns]
    return out


@numba.njit(cache=True, parallel=True)
def rows_times(x, weight, columns):  # pragma: no cover
    """Return the first columns of x @ weight: x [N, F], weight [F, H] with H a multiple of 16."""
    rows, features = x.shape
    out = np.empty((rows, columns), x.dtype)
    for chunk in numba.prange((rows + _CHUNK - 1) // _CHUNK):
        begin = chunk * _CHUNK
        number = min(rows - begin, _CHUNK)
        part = np.zeros((_CHUNK, features), x.dtype)
        product = np.zeros((_CHUNK, weight.shape[1]), x.dtype)
        part[:number] = x[begin : begin + number]
        add_rows(part, weight, product, number)
        out[begin : begin + number] = product[:number, :columns]
    return out


@numba.njit(cache=True, parallel=True)
def two_layers(
    x, shared, index, hidden_weight, hidden_bias, output_weight, output_bias, out
):  # pragma: no cover
    """Write relu(x @ hidden_weight + sum of shared[index] + hidden_bias) @ output_weight +
    output_bias to `out` [N, D]: x [N + 8 or more, F], shared [G, H], index [S, N or more].

    H, and the width of the output weights [H, D'] and bias [D'], are filled up with zeros to a
    multiple of 16.
    """
    rows, narrow = out.shape
    hidden, width = output_weight.shape
    zero = splat(x.dtype.type(0))
    for chunk in numba.prange((rows + _CHUNK - 1) // _CHUNK):
        begin = chunk * _CHUNK
        number = min(rows - begin, _CHUNK)
        hide = np.empty((_CHUNK, hidden), x.dtype)
        values = np.empty((_CHUNK, width), x.dtype)
        for n in range(number):
            for h in range(0, hidden, LANES):
                total = load(hidden_bias, h)
                for s in range(len(index)):
                    total = total + load(shared, index[s, begin + n] * hidden + h)
                store(hide, n * hidden + h, total)
            for d in range(0, width, LANES):
                store(values, n * width + d, load(output_bias, d))
        add_rows(x[begin:], hidden_weight, hide, number)
        for f in range(0, number * hidden, LANES):
            store(hide, f, maximum(load(hide, f), zero))
        add_rows(hide, output_weight, values, number)
        for n in range(number):
            for d in range(narrow):
                out[begin + n, d] = values[n, d]
