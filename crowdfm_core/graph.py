"""The annotation graph of one batch, as index arrays in the order each side walks them.

Letters: E annotations, T tasks, W workers, K option rows, P distinct (node, option) pairs.
A batch may hold any number of projects and components: nodes of different projects are
different rows, so message passing never crosses them (design: "Partitioning").
"""

from __future__ import annotations

from dataclasses import dataclass

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
        by_worker = _order(task, num_tasks, np.arange(len(task), dtype=np.int32))
        by_worker = _order(option, num_option_rows, by_worker)
        by_worker = _order(worker, num_workers, by_worker)

        task_entry = np.empty(len(task), np.int32)
        task_entry[by_task] = np.arange(len(task), dtype=np.int32)
        worker_entry = np.empty(len(task), np.int32)
        worker_entry[by_worker] = np.arange(len(task), dtype=np.int32)

        task_pairs = _Pairs.of(task[by_task], option[by_task], num_tasks)
        worker_pairs = _Pairs.of(worker[by_worker], option[by_worker], num_workers)
        return cls(
            tasks=_side(task_pairs, worker[by_task], worker_pairs.of_entry, worker_entry[by_task]),
            workers=_side(
                worker_pairs, task[by_worker], task_pairs.of_entry, task_entry[by_worker]
            ),
            entry_of_annotation=task_entry,
            task_option_start=np.asarray(start, np.int32),
            task_option_end=np.asarray(end, np.int32),
            num_option_rows=num_option_rows,
        )


@dataclass(frozen=True)
class _Pairs:
    pair_start: IntArray
    pair_centre: IntArray
    pair_option: IntArray
    entry_start: IntArray
    of_entry: IntArray  # [E] pair of each entry

    @classmethod
    def of(cls, centre: IntArray, option: IntArray, num_centres: int) -> _Pairs:
        """Find the runs of equal (centre, option) in sorted entries."""
        first = np.ones(len(centre), bool)
        first[1:] = (centre[1:] != centre[:-1]) | (option[1:] != option[:-1])
        begin = np.flatnonzero(first).astype(np.int32)
        pair_centre = centre[begin]
        return cls(
            pair_start=np.searchsorted(pair_centre, np.arange(num_centres + 1)).astype(np.int32),
            pair_centre=pair_centre,
            pair_option=option[begin],
            entry_start=np.append(begin, np.int32(len(centre))).astype(np.int32),
            of_entry=(np.cumsum(first) - 1).astype(np.int32),
        )


def _side(pairs: _Pairs, neighbour: IntArray, other: IntArray, other_entry: IntArray) -> Side:
    entries_before = pairs.entry_start[pairs.pair_start]
    marks = np.linspace(0, len(neighbour), _CHUNKS + 1)
    chunk_start = np.searchsorted(entries_before, marks).astype(np.int32)
    chunk_start[0], chunk_start[-1] = 0, len(entries_before) - 1
    return Side(
        pair_start=pairs.pair_start,
        pair_centre=pairs.pair_centre,
        pair_option=pairs.pair_option,
        entry_start=pairs.entry_start,
        neighbour=neighbour,
        neighbour_pair=other[other_entry],
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
