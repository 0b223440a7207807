"""Compiled sums of the unrolled model: along annotations, and over groups.

Letters as in candidates.py; F columns. `rows_to_candidates` and `candidates_to_rows` are each
other's transpose, so each is also the gradient of the other. Every output row is written by one
thread, in an order that depends on the graph alone.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.vector_memory import load, prefetch, store
from crowdfm_core.backends.vectors import LANES

__all__ = [
    "add_at",
    "add_own_tasks",
    "candidates_to_few_rows",
    "candidates_to_rows",
    "group_max",
    "most_listed",
    "rows_to_candidates",
    "sum_by_group",
    "sum_runs",
]


_AHEAD = 8  # annotations whose rows are asked for before they are added to
_TASKS = 64  # tasks whose annotations are listed at once


@numba.njit(cache=True, inline="always")
def _add_run(x, at, out, out_at, size):  # pragma: no cover
    """Add x[at : at + size] to as many places of out."""
    whole = size // LANES * LANES
    for f in range(0, whole, LANES):
        store(out, out_at + f, load(out, out_at + f) + load(x, at + f))
    for f in range(whole, size):
        # Unsigned places are not negative, which costs no test.
        out[np.uint64(out_at + f)] += x[np.uint64(at + f)]


@numba.njit(cache=True, inline="always")
def _ask_for(flat, start, place, width):  # pragma: no cover
    """Ask for the memory of the first rows of a place, from start[place] on, width numbers each."""
    ahead = min(start[place + 1] - start[place], 16) * width
    for f in range(0, ahead, LANES):
        prefetch(flat, start[place] * width + f)


@numba.njit(cache=True, parallel=True)
def rows_to_candidates(
    rows,
    candidate_start,
    candidate_option,
    row_start,
    pair_start,
    pair_option,
    entry_start,
    neighbour_pair,
    is_tied,
    chunk_start,
):  # pragma: no cover
    """Sum over each task's annotations the rows [Q, F] of their pairs, candidate by candidate.

    Walks the tasks' side; is_tied [T]. Returns [C, F].
    """
    width = rows.shape[1]
    out = np.zeros((candidate_start[-1], width), rows.dtype)
    flat_out, flat = out.reshape(-1), rows.reshape(-1)
    for chunk in numba.prange(len(chunk_start) - 1):
        for t in range(chunk_start[chunk], chunk_start[chunk + 1]):
            first = candidate_start[t]
            count = candidate_start[t + 1] - first
            for p in range(pair_start[t], pair_start[t + 1]):
                for e in range(entry_start[p], entry_start[p + 1]):
                    row = row_start[neighbour_pair[e]]
                    if is_tied[t]:
                        for j in range(count):
                            source = row + (candidate_option[first + j] != pair_option[p])
                            for f in range(width):
                                out[first + j, f] += rows[source, f]
                    else:
                        _add_run(flat, row * width, flat_out, first * width, count * width)
    return out


@numba.njit(cache=True, parallel=True)
def add_at(total, place, rows):  # pragma: no cover
    """Add rows [N, F] to those of total [Q, F] at distinct places [N]."""
    for i in numba.prange(len(place)):
        for f in range(rows.shape[1]):
            total[place[i], f] += rows[i, f]


@numba.njit(cache=True, inline="always")
def _add_task(
    candidates, at, flat, out, flat_out, row, first, last, answer, candidate_option, is_tied
):  # pragma: no cover
    """Add a task's candidates [first, last), which stand in `candidates` from row `at` on, to the
    rows of a pair, which begin at `row`."""
    width = candidates.shape[1]
    if is_tied:
        for c in range(first, last):
            target = row + (candidate_option[c] != answer)
            for f in range(width):
                out[target, f] += candidates[at + c - first, f]
    else:
        # A task's candidates stand together, as the rows of a pair do.
        _add_run(flat, at * width, flat_out, row * width, (last - first) * width)


@numba.njit(cache=True, parallel=True)
def candidates_to_rows(
    candidates,
    candidate_start,
    candidate_option,
    row_start,
    pair_start,
    pair_option,
    entry_start,
    neighbour,
    is_tied,
    chunk_start,
):  # pragma: no cover
    """Sum over each pair's annotations the candidates [C, F] of their tasks, row by row.

    Walks the workers' side; is_tied [T]. Returns [Q, F].
    """
    width = candidates.shape[1]
    out = np.zeros((row_start[-1], width), candidates.dtype)
    flat_out, flat = out.reshape(-1), candidates.reshape(-1)
    for chunk in numba.prange(len(chunk_start) - 1):
        for w in range(chunk_start[chunk], chunk_start[chunk + 1]):
            for p in range(pair_start[w], pair_start[w + 1]):
                for e in range(entry_start[p], entry_start[p + 1]):
                    t = neighbour[e]
                    # Tasks that stand anywhere: memory is asked for before it is read.
                    soon = neighbour[min(e + _AHEAD, len(neighbour) - 1)]
                    _ask_for(flat, candidate_start, soon, width)
                    _add_task(
                        candidates,
                        candidate_start[t],
                        flat,
                        out,
                        flat_out,
                        row_start[p],
                        candidate_start[t],
                        candidate_start[t + 1],
                        pair_option[p],
                        candidate_option,
                        is_tied[t],
                    )
    return out


@numba.njit(cache=True)
def most_listed(pair_start, entry_start):  # pragma: no cover
    """Room that `add_own_tasks` needs for what it lists, at whatever task it begins."""
    tasks, most = len(pair_start) - 1, 0
    for begin in range(tasks):
        entries = entry_start[pair_start[min(begin + _TASKS, tasks)]]
        most = max(most, entries - entry_start[pair_start[begin]])
    return most + 1


@numba.njit(cache=True)
def add_own_tasks(
    low,
    high,
    begin,
    end,
    candidates,
    out,
    own,
    candidate_start,
    candidate_option,
    row_start,
    pair_start,
    pair_option,
    entry_start,
    neighbour_pair,
    is_tied,
):  # pragma: no cover
    """Add the tasks [begin, end), whose candidates alone are in `candidates`, to the rows `out`
    [Q, F] of the pairs [low, high) of workers and answers; own [`most_listed`, 3].

    Candidates are read in order, and the rows stay in the cache.
    """
    flat_out, flat = out.reshape(-1), candidates.reshape(-1)
    width = candidates.shape[1]
    for start in range(begin, end, _TASKS):
        # Task, answer and pair of own annotations; listed first, as it cannot be foreseen which
        # they are.
        number = 0
        for t in range(start, min(start + _TASKS, end)):
            for p in range(pair_start[t], pair_start[t + 1]):
                for e in range(entry_start[p], entry_start[p + 1]):
                    pair = neighbour_pair[e]
                    own[number, 0], own[number, 1], own[number, 2] = t, pair_option[p], pair
                    number += int(pair >= low) & int(pair < high)
        for i in range(number):
            soon = own[min(i + _AHEAD, number - 1), 2]
            _ask_for(flat_out, row_start, soon, width)
            t = own[i, 0]
            _add_task(
                candidates,
                candidate_start[t] - candidate_start[begin],
                flat,
                out,
                flat_out,
                row_start[own[i, 2]],
                candidate_start[t],
                candidate_start[t + 1],
                own[i, 1],
                candidate_option,
                is_tied[t],
            )


@numba.njit(cache=True, parallel=True)
def candidates_to_few_rows(
    candidates,
    first_pair,
    candidate_start,
    candidate_option,
    row_start,
    pair_start,
    pair_option,
    entry_start,
    neighbour_pair,
    is_tied,
    chunk_start,
):  # pragma: no cover
    """The same sums as `candidates_to_rows`, to the last bit, for fewer rows than candidates.

    Walks the tasks' side. Each thread walks all annotations and sums those of its (worker, answer)
    pairs, first_pair[g] up to first_pair[g + 1], so that no sum depends on the number of threads.
    """
    out = np.zeros((row_start[-1], candidates.shape[1]), candidates.dtype)
    room = most_listed(pair_start, entry_start)
    for group in numba.prange(len(first_pair) - 1):
        add_own_tasks(
            first_pair[group],
            first_pair[group + 1],
            0,
            chunk_start[-1],
            candidates,
            out,
            np.empty((room, 3), np.int64),
            candidate_start,
            candidate_option,
            row_start,
            pair_start,
            pair_option,
            entry_start,
            neighbour_pair,
            is_tied,
        )
    return out


@numba.njit(cache=True)
def sum_by_group(x, group, num_groups):  # pragma: no cover
    """Sum the rows of x [N, F] by group [N]: [G, F]."""
    out = np.zeros((num_groups, x.shape[1]), x.dtype)
    for n in range(len(group)):
        g = group[n]
        for f in range(x.shape[1]):
            out[g, f] += x[n, f]
    return out


@numba.njit(cache=True, parallel=True)
def sum_runs(x, weight, start):  # pragma: no cover
    """Sum x [C, F] times weight [C] over each run [start[t], start[t+1]): [T, F]."""
    out = np.zeros((len(start) - 1, x.shape[1]), x.dtype)
    for t in numba.prange(len(start) - 1):
        for c in range(start[t], start[t + 1]):
            for f in range(x.shape[1]):
                out[t, f] += x[c, f] * weight[c]
    return out


@numba.njit(cache=True)
def group_max(x, start):  # pragma: no cover
    """Largest of x [C, F] in each run [start[t], start[t+1]): [T, F]."""
    out = np.full((len(start) - 1, x.shape[1]), -np.inf, x.dtype)
    for t in range(len(start) - 1):
        for c in range(start[t], start[t + 1]):
            for f in range(x.shape[1]):
                out[t, f] = max(out[t, f], x[c, f])
    return out
