"""Products with small matrices, and norms, for compiled loops over nodes.

About as fast as BLAS on rows of this size, without arrays between the steps.
Letters: N rows, F features, H outputs, D width.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

__all__ = ["add_product", "add_products", "moments", "normalise"]

# Lets the compiler reorder sums inside one product; infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def add_product(x, weight, out):  # pragma: no cover
    """Add x @ weight to out: x [F], weight [F, H], out [H]."""
    width, features = len(out), len(weight)
    whole = features - features % 4
    for i in range(0, whole, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        w, y, z, v = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        for j in range(width):
            out[j] += a * w[j] + b * y[j] + c * z[j] + d * v[j]
    for i in range(whole, features):
        a, w = x[i], weight[i]
        for j in range(width):
            out[j] += a * w[j]


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def add_products(x, weight, out, number):  # pragma: no cover
    """Add x @ weight to the first `number` rows of out: x [N, F], weight [F, H], out [N, H].

    Four rows, or two, share the weights that are loaded; four inputs share a sum that is loaded
    and stored. About as fast as BLAS on matrices of this size.
    """
    width, features = out.shape[1], len(weight)
    whole = features - features % 4
    n = 0
    while n + 4 <= number:
        p, q, r, s = out[n], out[n + 1], out[n + 2], out[n + 3]
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
            a0, a1, a2, a3 = x[n, i], x[n, i + 1], x[n, i + 2], x[n, i + 3]
            b0, b1, b2, b3 = x[n + 1, i], x[n + 1, i + 1], x[n + 1, i + 2], x[n + 1, i + 3]
            c0, c1, c2, c3 = x[n + 2, i], x[n + 2, i + 1], x[n + 2, i + 2], x[n + 2, i + 3]
            d0, d1, d2, d3 = x[n + 3, i], x[n + 3, i + 1], x[n + 3, i + 2], x[n + 3, i + 3]
            for j in range(width):
                u0, u1, u2, u3 = w0[j], w1[j], w2[j], w3[j]
                p[j] += a0 * u0 + a1 * u1 + a2 * u2 + a3 * u3
                q[j] += b0 * u0 + b1 * u1 + b2 * u2 + b3 * u3
                r[j] += c0 * u0 + c1 * u1 + c2 * u2 + c3 * u3
                s[j] += d0 * u0 + d1 * u1 + d2 * u2 + d3 * u3
        for i in range(whole, features):
            for j in range(width):
                u = weight[i, j]
                p[j] += x[n, i] * u
                q[j] += x[n + 1, i] * u
                r[j] += x[n + 2, i] * u
                s[j] += x[n + 3, i] * u
        n += 4
    if n + 2 <= number:
        p, q = out[n], out[n + 1]
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
            a0, a1, a2, a3 = x[n, i], x[n, i + 1], x[n, i + 2], x[n, i + 3]
            b0, b1, b2, b3 = x[n + 1, i], x[n + 1, i + 1], x[n + 1, i + 2], x[n + 1, i + 3]
            for j in range(width):
                u0, u1, u2, u3 = w0[j], w1[j], w2[j], w3[j]
                p[j] += a0 * u0 + a1 * u1 + a2 * u2 + a3 * u3
                q[j] += b0 * u0 + b1 * u1 + b2 * u2 + b3 * u3
        for i in range(whole, features):
            for j in range(width):
                u = weight[i, j]
                p[j] += x[n, i] * u
                q[j] += x[n + 1, i] * u
        n += 2
    if n < number:
        add_product(x[n], weight, out[n])


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def moments(x, width):  # pragma: no cover
    """Return the mean of x [D] and the inverse of its standard deviation (epsilon 1e-5)."""
    total = x[0] * 0
    for d in range(width):
        total += x[d]
    mean = total / width
    total = x[0] * 0
    for d in range(width):
        total += (x[d] - mean) ** 2
    return mean, 1 / np.sqrt(total / width + x.dtype.type(1e-5))


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def normalise(x, scale, shift, out):  # pragma: no cover
    """Write the layer norm of x [D] to out [D]."""
    width = len(scale)
    mean, factor = moments(x, width)
    for d in range(width):
        out[d] = (x[d] - mean) * factor * scale[d] + shift[d]
