"""Compiled choice of the workers who suit a task best.

Letters: N tasks, W workers, F factors.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

__all__ = ["best_workers"]

_TILE = 512  # workers whose scores are held at once, in the first cache


@numba.njit(cache=True, parallel=True)
def best_workers(task, facing, worker, done_start, done, top):  # pragma: no cover
    """Columns of the `top` largest products of each row of task [N, F] with those of facing [F, W],
    largest first and equal ones by column, int64 [N, top], -1 where none is left; and the products.

    worker [W]: what the columns are; those in done[done_start[n]:done_start[n + 1]] are left out
    for task n. A row's products do not depend on the others, to the last bit.
    """
    rows, width = task.shape
    best = np.full((rows, top), -1, np.int64)
    products = np.full((rows, top), -np.inf)
    for row in numba.prange(rows):
        product = np.empty(_TILE)
        for first in range(0, len(worker), _TILE):
            size = min(_TILE, len(worker) - first)
            product[:size] = 0.0
            for factor in range(width):
                weight = task[row, factor]
                for place in range(size):
                    product[place] += weight * facing[factor, first + place]
            for place in range(size):
                new, column = product[place], first + place
                if not new > products[row, top - 1]:
                    continue
                is_done = False
                for entry in range(done_start[row], done_start[row + 1]):
                    is_done |= done[entry] == worker[column]
                if is_done:
                    continue
                rank = top - 1
                while rank > 0 and new > products[row, rank - 1]:
                    products[row, rank] = products[row, rank - 1]
                    best[row, rank] = best[row, rank - 1]
                    rank -= 1
                products[row, rank], best[row, rank] = new, column
    return best, products
