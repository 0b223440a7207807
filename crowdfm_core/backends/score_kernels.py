"""Scores of annotations, four heads a quad, and their weights under a softmax.

Scores of one centre stand one quad after the other, filled up to whole vectors.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.vector_memory import load, store, store_quad
from crowdfm_core.backends.vectors import LANES, exp, maximum, quad_max, quad_sum, splat, spread

__all__ = ["fill_up", "filled", "four_dots", "highest", "weigh"]


@numba.njit(cache=True, inline="always")
def four_dots(row, row_at, table, table_at, width):  # pragma: no cover
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
def filled(number):  # pragma: no cover
    """Return the next multiple of the lanes."""
    return (number + LANES - 1) // LANES * LANES


@numba.njit(cache=True, inline="always")
def fill_up(scores, end):  # pragma: no cover
    """Fill up the scores before `end`, quads, with -infinity to whole vectors; return their end."""
    for i in range(end, filled(end), 4):
        store_quad(scores, i, splat(scores.dtype.type(-np.inf)))
    return filled(end)


@numba.njit(cache=True, inline="always")
def weigh(scores, begin, end, top):  # pragma: no cover
    """Replace scores by exp(score - top); return their sum per head, in every quad."""
    total = splat(scores.dtype.type(0))
    for i in range(begin, end, LANES):
        weight = exp(load(scores, i) - top)
        store(scores, i, weight)
        total = total + weight
    return quad_sum(total)


@numba.njit(cache=True, inline="always")
def highest(scores, begin, end):  # pragma: no cover
    """Return the highest score per head, in every quad."""
    top = load(scores, begin)
    for i in range(begin + LANES, end, LANES):
        top = maximum(top, load(scores, i))
    return quad_max(top)
