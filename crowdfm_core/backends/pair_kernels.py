"""Compiled choice of the best columns of a table of scores.

Letters: N rows, W columns.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

__all__ = ["best_columns"]


@numba.njit(cache=True, parallel=True)
def best_columns(score, top):  # pragma: no cover
    """Columns of the `top` largest entries of each row of score [N, W], largest first and equal
    ones by column, int64 [N, top]; -1 where no entry above -inf is left."""
    rows, columns = score.shape
    best = np.full((rows, top), -1, np.int64)
    for row in numba.prange(rows):
        value = np.full(top, -np.inf)
        for column in range(columns):
            new = score[row, column]
            if not new > value[top - 1]:
                continue
            place = top - 1
            while place > 0 and new > value[place - 1]:
                value[place] = value[place - 1]
                best[row, place] = best[row, place - 1]
                place -= 1
            value[place] = new
            best[row, place] = column
    return best
