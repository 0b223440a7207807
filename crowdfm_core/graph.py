"""The annotation graph of one batch, as index arrays in the order each side walks them.

Letters: E annotations, T tasks, W workers, K option rows, P distinct (node, option) pairs.
A batch may hold any number of projects and components: nodes of different projects are
different rows, so message passing never crosses them (design: "Partitioning").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import ScoringError

__all__ = ["AnnotationGraph", "IntArray", "Side", "even_chunks"]

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
    task_option_start: IntArray  # [T] first option row of the task's project
    task_option_end: IntArray  # [T] one past its last option row
    num_option_rows: int

    @property
    def num_annotations(self) -> int:
        """Number of annotations E."""
        return int(self.tasks.entry_start[-1])

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

        # By option and worker first, then by task: stable sorts, least significant key first.
        answers = np.column_stack([task, worker, option])
        answers = _sorted(_sorted(answers, _WORKER, num_workers), _OPTION, num_option_rows)
        by_option = _Pairs(*_pairs(answers, _OPTION, _WORKER, num_option_rows))
        of_workers, of_answer = _turned(by_option, num_workers)
        answers[:, _WORKER] = of_answer
        answers = _sorted(answers, _TASK, num_tasks)
        of_tasks = _Pairs(*_pairs(answers, _TASK, _OPTION, num_tasks))
        task_entries, worker_entries = _entries(
            answers, of_tasks.of_answer, of_workers.pair_centre, of_workers.entry_start
        )
        return cls(
            tasks=_side(of_tasks, *task_entries),
            workers=_side(of_workers, *worker_entries),
            task_option_start=np.asarray(start, np.int32),
            task_option_end=np.asarray(end, np.int32),
            num_option_rows=num_option_rows,
        )


# Columns of annotations as they are sorted: whole rows, so that what follows is read in order.
_TASK, _WORKER, _OPTION = range(3)


class _Pairs(NamedTuple):
    pair_start: IntArray
    pair_centre: IntArray
    pair_option: IntArray
    entry_start: IntArray
    of_answer: IntArray  # [E] pair of each annotation, in the order that they were found in


def even_chunks(start: IntArray) -> IntArray:
    """Return the bounds [C + 1] of ranges of nodes, more than there are threads, with about equal
    numbers of what each node has from start [N + 1] on."""
    chunk_start = np.searchsorted(start, np.linspace(0, start[-1], _CHUNKS + 1)).astype(np.int32)
    chunk_start[0], chunk_start[-1] = 0, len(start) - 1
    return np.unique(chunk_start)


def _side(
    pairs: _Pairs, neighbour: IntArray, neighbour_pair: IntArray, other_entry: IntArray
) -> Side:
    return Side(
        pair_start=pairs.pair_start,
        pair_centre=pairs.pair_centre,
        pair_option=pairs.pair_option,
        entry_start=pairs.entry_start,
        neighbour=neighbour,
        neighbour_pair=neighbour_pair,
        other_entry=other_entry,
        chunk_start=even_chunks(pairs.entry_start[pairs.pair_start]),
    )


def _turned(by_option: _Pairs, num_workers: int) -> tuple[_Pairs, IntArray]:
    """Pairs by worker and option from those by option and worker, and the pair of each annotation
    in the order of the latter."""
    worker, option = by_option.pair_option, by_option.pair_centre
    turn = np.argsort(worker, kind="stable")
    place = np.empty(len(turn), np.int32)
    place[turn] = np.arange(len(turn), dtype=np.int32)
    of_answer = place[by_option.of_answer]
    sizes, pairs = np.diff(by_option.entry_start)[turn], np.bincount(worker, minlength=num_workers)
    turned = _Pairs(_starts(pairs), worker[turn], option[turn], _starts(sizes), of_answer)
    return turned, of_answer


def _starts(sizes: npt.NDArray[Any]) -> IntArray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def _checked(values: npt.ArrayLike, bound: int, name: str) -> IntArray:
    array = np.asarray(values)
    if array.size and (array.min() < 0 or array.max() >= bound):
        raise ScoringError(
            f"expected {name} in [0, {bound}), got values from {array.min()} to {array.max()}"
        )
    return array.astype(np.int32, copy=False)


@numba.njit(cache=True)
def _sorted(answers: IntArray, column: int, num_keys: int) -> IntArray:  # pragma: no cover
    """Stable counting sort of annotations [E, 3] by a column: linear, where a comparison sort is
    not."""
    place = np.zeros(num_keys + 1, np.int64)
    for i in range(len(answers)):
        place[answers[i, column] + 1] += 1
    for key in range(num_keys):
        place[key + 1] += place[key]
    out = np.empty_like(answers)
    for i in range(len(answers)):
        key = answers[i, column]
        at = place[key]
        place[key] = at + 1
        for j in range(3):
            out[at, j] = answers[i, j]
    return out


@numba.njit(cache=True)
def _pairs(
    answers: IntArray, centre: int, option: int, num_centres: int
) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:  # pragma: no cover
    """Find the runs of equal (centre, option), given as columns, in sorted annotations [E, 3]: the
    fields of `_Pairs`."""
    entries = len(answers)
    pair_start = np.zeros(num_centres + 1, np.int32)
    pair_centre, pair_option = np.empty(entries, np.int32), np.empty(entries, np.int32)
    entry_start, of_answer = np.zeros(entries + 1, np.int32), np.empty(entries, np.int32)
    pair, last_centre, last_option = -1, -1, -1
    for entry in range(entries):
        # Written for every entry, as it cannot be foreseen where a pair begins.
        c, o = answers[entry, centre], answers[entry, option]
        pair += int(c != last_centre) | int(o != last_option)
        last_centre, last_option = c, o
        pair_centre[pair], pair_option[pair] = c, o
        pair_start[c + 1], entry_start[pair + 1], of_answer[entry] = pair + 1, entry + 1, pair
    for c in range(num_centres):
        pair_start[c + 1] = max(pair_start[c], pair_start[c + 1])
    pairs = pair + 1
    return (
        pair_start,
        pair_centre[:pairs].copy(),
        pair_option[:pairs].copy(),
        entry_start[: pairs + 1].copy(),
        of_answer,
    )


@numba.njit(cache=True)
def _entries(
    answers: IntArray, task_pair: IntArray, worker_of_pair: IntArray, worker_entry_start: IntArray
) -> tuple[IntArray, IntArray]:  # pragma: no cover
    """Node, pair and entry on the other side of every entry, [3, E], of both sides, tasks first.

    answers [E, 3]: in the order of the tasks' side, with pairs of workers instead of workers;
    task_pair [E]: pair of each of these.
    """
    entries = len(answers)
    tasks, workers = np.empty((3, entries), np.int32), np.empty((3, entries), np.int32)
    # The annotations of one worker and option stay in the order of their tasks.
    following = worker_entry_start[:-1].copy()
    for entry in range(entries):
        pair = answers[entry, _WORKER]
        at = following[pair]
        following[pair] = at + 1
        tasks[0, entry], tasks[1, entry], tasks[2, entry] = worker_of_pair[pair], pair, at
        workers[0, at], workers[1, at] = answers[entry, _TASK], task_pair[entry]
        workers[2, at] = entry
    return tasks, workers
