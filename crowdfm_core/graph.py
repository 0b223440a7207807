"""The annotation graph of one batch, as index arrays in the order each side walks them.

Letters: E annotations, T tasks, W workers, K option rows, P distinct (node, option) pairs.
A batch may hold any number of projects and components: nodes of different projects are
different rows, so message passing never crosses them (design: "Partitioning").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import ScoringError

__all__ = ["AnnotationGraph", "IntArray", "Side"]

IntArray = npt.NDArray[np.int32]

# Enough chunks for an even load on a few threads although degrees are heavy-tailed.
_CHUNKS = 64


@dataclass(frozen=True)
class Side:
    """Annotations grouped by the nodes of one side (the centres), then by answered option.

    An entry is one annotation; the entries of one (centre, option) pair stand together, ordered
    by the neighbour, so that sums run in an order that does not depend on the input's.
    """

    pair_start: IntArray  # [N+1] first pair of each centre
    pair_centre: IntArray  # [P] centre of each pair
    pair_option: IntArray  # [P] option row of each pair
    entry_start: IntArray  # [P+1] first entry of each pair
    neighbour: IntArray  # [E] node of the other side
    neighbour_pair: IntArray  # [E] pair (neighbour, option) in the other side's numbering
    other_entry: IntArray  # [E] place of the same annotation among the other side's entries
    chunk_start: IntArray  # [C+1] ranges of centres with about equal numbers of entries

    @property
    def num_centres(self) -> int:
        """Number of nodes N on this side."""
        return len(self.pair_start) - 1

    @property
    def degree(self) -> IntArray:
        """Annotations per centre, int32 [N]."""
        return np.diff(self.entry_start[self.pair_start])


@dataclass(frozen=True)
class AnnotationGraph:
    """One batch as two sides over the same annotations, plus each task's range of option rows."""

    tasks: Side
    workers: Side
    entry_of_annotation: IntArray  # [E] place of each input row among the entries of `tasks`
    task_option_start: IntArray  # [T] first option row of the task's project
    task_option_end: IntArray  # [T] one past its last option row
    num_option_rows: int

    @property
    def num_annotations(self) -> int:
        """Number of annotations E."""
        return len(self.tasks.neighbour)

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return self.tasks.num_centres

    @property
    def num_workers(self) -> int:
        """Number of workers W."""
        return self.workers.num_centres

    @classmethod
    def from_arrays(
        cls,
        task_index: npt.ArrayLike,
        worker_index: npt.ArrayLike,
        option_row: npt.ArrayLike,
        *,
        num_tasks: int,
        num_workers: int,
        num_option_rows: int,
        task_option_start: npt.ArrayLike | None = None,
        task_option_end: npt.ArrayLike | None = None,
    ) -> AnnotationGraph:
        """Group E annotations, given as three int arrays [E], by task and by worker.

        Repeated (task, worker) rows are kept as separate annotations. Without option ranges
        every task may take every option row (a batch of one project).
        Raises ScoringError when lengths differ or an index is out of range.
        """
        task = _checked(task_index, num_tasks, "task_index")
        worker = _checked(worker_index, num_workers, "worker_index")
        option = _checked(option_row, num_option_rows, "option_row")
        if not len(task) == len(worker) == len(option):
            raise ScoringError(
                "expected task_index, worker_index and option_row of one length, "
                f"got {len(task)}, {len(worker)} and {len(option)}"
            )
        start = np.zeros(num_tasks) if task_option_start is None else task_option_start
        end = np.full(num_tasks, num_option_rows) if task_option_end is None else task_option_end

        by_task = _order(worker, num_workers, np.arange(len(task), dtype=np.int32))
        by_task = _order(option, num_option_rows, by_task)
        by_task = _order(task, num_tasks, by_task)
        # Stable, so that the annotations of one worker and option stay in the order of their tasks.
        by_worker = _order(option, num_option_rows, by_task)
        by_worker = _order(worker, num_workers, by_worker)

        task_entry, worker_entry = _inverse(by_task), _inverse(by_worker)
        task_pairs = _Pairs(*_pairs(task, option, by_task, num_tasks))
        worker_pairs = _Pairs(*_pairs(worker, option, by_worker, num_workers))
        return cls(
            tasks=_side(task_pairs, worker_pairs, by_task, worker, worker_entry),
            workers=_side(worker_pairs, task_pairs, by_worker, task, task_entry),
            entry_of_annotation=task_entry,
            task_option_start=np.asarray(start, np.int32),
            task_option_end=np.asarray(end, np.int32),
            num_option_rows=num_option_rows,
        )


class _Pairs(NamedTuple):
    pair_start: IntArray
    pair_centre: IntArray
    pair_option: IntArray
    entry_start: IntArray
    of_entry: IntArray  # [E] pair of each entry


def _side(
    pairs: _Pairs, other: _Pairs, order: IntArray, other_node: IntArray, other_place: IntArray
) -> Side:
    """Lay out one side from its order of the input's rows; other_node, other_place [E]: of each
    row, its node of the other side and its place among the other side's entries."""
    entries_before = pairs.entry_start[pairs.pair_start]
    marks = np.linspace(0, len(order), _CHUNKS + 1)
    chunk_start = np.searchsorted(entries_before, marks).astype(np.int32)
    chunk_start[0], chunk_start[-1] = 0, len(entries_before) - 1
    neighbour, neighbour_pair, other_entry = _neighbours(
        order, other_node, other_place, other.of_entry
    )
    return Side(
        pair_start=pairs.pair_start,
        pair_centre=pairs.pair_centre,
        pair_option=pairs.pair_option,
        entry_start=pairs.entry_start,
        neighbour=neighbour,
        neighbour_pair=neighbour_pair,
        other_entry=other_entry,
        chunk_start=np.unique(chunk_start).astype(np.int32),
    )


def _checked(values: npt.ArrayLike, bound: int, name: str) -> IntArray:
    array = np.asarray(values)
    if array.size and (array.min() < 0 or array.max() >= bound):
        raise ScoringError(
            f"expected {name} in [0, {bound}), got values from {array.min()} to {array.max()}"
        )
    return array.astype(np.int32, copy=False)


@numba.njit(cache=True)
def _order(keys: IntArray, num_keys: int, order: IntArray) -> IntArray:  # pragma: no cover
    """Stable counting sort of `order` by `keys`: linear, where a comparison sort is not."""
    place = np.zeros(num_keys + 1, np.int64)
    for key in keys:
        place[key + 1] += 1
    for key in range(num_keys):
        place[key + 1] += place[key]
    out = np.empty_like(order)
    for row in order:
        key = keys[row]
        out[place[key]] = row
        place[key] += 1
    return out


@numba.njit(cache=True)
def _inverse(order: IntArray) -> IntArray:  # pragma: no cover
    """Return the place of every number in a permutation."""
    place = np.empty_like(order)
    for i in range(len(order)):
        place[order[i]] = i
    return place


@numba.njit(cache=True)
def _pairs(
    centre: IntArray, option: IntArray, order: IntArray, num_centres: int
) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:  # pragma: no cover
    """Find the runs of equal (centre, option) among rows in order: the fields of `_Pairs`."""
    entries = len(order)
    pair_start = np.empty(num_centres + 1, np.int32)
    pair_centre, pair_option = np.empty(entries, np.int32), np.empty(entries, np.int32)
    entry_start, of_entry = np.empty(entries + 1, np.int32), np.empty(entries, np.int32)
    pairs = 0
    next_centre = 0
    for entry in range(entries):
        c, o = centre[order[entry]], option[order[entry]]
        if pairs == 0 or c != pair_centre[pairs - 1] or o != pair_option[pairs - 1]:
            pair_start[next_centre : c + 1] = pairs
            next_centre = max(next_centre, c + 1)
            pair_centre[pairs], pair_option[pairs], entry_start[pairs] = c, o, entry
            pairs += 1
        of_entry[entry] = pairs - 1
    pair_start[next_centre:] = pairs
    entry_start[pairs] = entries
    return (
        pair_start,
        pair_centre[:pairs].copy(),
        pair_option[:pairs].copy(),
        entry_start[: pairs + 1].copy(),
        of_entry,
    )


@numba.njit(cache=True, parallel=True)
def _neighbours(
    order: IntArray, other_node: IntArray, other_place: IntArray, other_pair: IntArray
) -> tuple[IntArray, IntArray, IntArray]:  # pragma: no cover
    """Node, pair and place on the other side of every entry, see `_side`; other_pair [E]: of the
    other side's entries."""
    node, pair, place = np.empty_like(order), np.empty_like(order), np.empty_like(order)
    for entry in numba.prange(len(order)):
        row = order[entry]
        node[entry], place[entry] = other_node[row], other_place[row]
        pair[entry] = other_pair[other_place[row]]
    return node, pair, place
