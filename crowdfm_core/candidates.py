"""Where the unrolled model keeps its states: candidates of tasks, rows of (worker, answer) pairs.

Letters: E annotations, T tasks, W workers, K option rows, P distinct (worker, option) pairs,
C candidates, Q rows, J components.

A project with few options is `dense`: every option is a candidate of every task, and a pair
(worker, answered option) has one row per true option. A project with many is `tied`: only options
that somebody gave a task are its candidates, and a pair has two rows, one for a true option equal
to the answer and one for all others, so that nothing of size options x options is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from crowdfm_core.graph import AnnotationGraph, IntArray
from crowdfm_core.union_find import smallest_connected_task

__all__ = ["MAX_DENSE_OPTIONS", "CandidateGraph", "ComponentSizes"]

MAX_DENSE_OPTIONS = 16

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ComponentSizes:
    """Sizes of one whole component; options are those of its project."""

    annotations: int
    tasks: int
    workers: int
    options: int


@dataclass(frozen=True)
class CandidateGraph:
    """Index arrays over one batch; sums over groups are the only way states meet.

    Nothing is summed beyond a component (a connected part of the graph), so that components score
    the same together and apart.
    """

    graph: AnnotationGraph
    candidate_start: IntArray  # [T+1] first candidate of each task
    candidate_task: IntArray  # [C]
    candidate_option: IntArray  # [C] option row
    candidate_group: IntArray  # [C] group (component, option)
    component_of_group: IntArray  # component of each such group
    option_of_group: IntArray  # its option row
    task_is_tied: npt.NDArray[np.bool_]  # [T]
    votes: FloatArray  # [C] answers of the task equal to the candidate
    row_start: IntArray  # [P+1] first row of each pair
    row_pair: IntArray  # [Q]
    row_is_same: FloatArray  # [Q] 1 where the true option is the answer
    row_is_tied: FloatArray  # [Q] 1 where the project is tied
    row_worker: IntArray  # [Q]
    row_truth: IntArray  # [Q] group (worker, true option), or (worker, same or other)
    num_truths: int
    row_pooled: IntArray  # [Q] group (answer, true option) of the component, or (same or other)
    component_of_pooled: IntArray  # component of each such group
    place_of_pooled: IntArray  # its place among all that the component may have
    pooled_is_same: FloatArray  # 1 where its true option is the answer
    pooled_truth: IntArray  # group of a pooled one: (component, true option), or component
    num_pooled_truths: int
    kinds_of_pooled: FloatArray  # answers that a pooled one is one of: options, or 2 if tied
    component_of_task: IntArray  # [T]
    component_of_worker: IntArray  # [W]
    components: tuple[ComponentSizes, ...]  # [J]

    @classmethod
    def of(
        cls,
        graph: AnnotationGraph,
        *,
        max_dense_options: int = MAX_DENSE_OPTIONS,
        part_of: ComponentSizes | None = None,
    ) -> CandidateGraph:
        """Lay out the states of a batch; projects with more options than that are tied.

        part_of: the component that all of the graph belongs to, where there is more of it elsewhere
        (some of its tasks with their annotations, or some workers with their pairs); its options
        are then all option rows.
        """
        of_task, of_worker, num_options, first_option, sizes = _components(graph, part_of)
        is_tied = num_options > max_dense_options

        candidates = _candidates(graph, is_tied[of_task])
        task, option = candidates["candidate_task"], candidates["candidate_option"]
        groups, candidate_group = _grouped(of_task[task], option, graph.num_option_rows)

        pair_worker, pair_option = graph.workers.pair_centre, graph.workers.pair_option
        pair_component = of_worker[pair_worker]
        per_pair = np.where(is_tied, 2, num_options)[pair_component]
        row_start = _offsets(per_pair)
        row_pair = np.repeat(np.arange(len(pair_option), dtype=np.int32), per_pair)
        place = np.arange(row_start[-1]) - row_start[row_pair]  # true option, or 0 same, 1 other
        row_component = pair_component[row_pair]
        row_tied = is_tied[row_component]
        answer = pair_option[row_pair] - first_option[row_component]
        row_worker = pair_worker[row_pair]
        truth_start = _offsets(np.where(is_tied, 2, num_options)[of_worker])

        # (answer, true option) of a dense component, or same and other of a tied one.
        kinds = int(max(max_dense_options, 2))
        within = np.where(row_tied, place, answer * kinds + place)
        pooled, row_pooled = _grouped(row_component, within, kinds * kinds)
        if part_of is not None:  # the totals are also over what only other parts have
            every = np.arange(2 if is_tied[0] else int(num_options[0]))
            if not is_tied[0]:
                every = (every[:, None] * kinds + every).ravel()
            row_pooled, pooled = np.searchsorted(every, pooled).astype(np.int32)[row_pooled], every
        pooled_component = pooled // (kinds * kinds)
        pooled_place = pooled % (kinds * kinds)
        pooled_tied = is_tied[pooled_component]
        true_place = np.where(pooled_tied, 0, pooled_place % kinds)
        is_same = np.where(pooled_tied, pooled_place == 0, pooled_place // kinds == true_place)
        truths, pooled_truth = _grouped(pooled_component, true_place, kinds)
        return cls(
            graph=graph,
            **candidates,
            candidate_group=candidate_group,
            component_of_group=(groups // max(graph.num_option_rows, 1)).astype(np.int32),
            option_of_group=(groups % max(graph.num_option_rows, 1)).astype(np.int32),
            task_is_tied=is_tied[of_task],
            row_start=row_start,
            row_pair=row_pair,
            row_is_same=np.where(row_tied, place == 0, place == answer).astype(np.float64),
            row_is_tied=row_tied.astype(np.float64),
            row_worker=row_worker,
            row_truth=(truth_start[row_worker] + place).astype(np.int32),
            num_truths=int(truth_start[-1]),
            row_pooled=row_pooled,
            component_of_pooled=pooled_component.astype(np.int32),
            place_of_pooled=pooled_place.astype(np.int32),
            pooled_is_same=is_same.astype(np.float64),
            pooled_truth=pooled_truth,
            num_pooled_truths=len(truths),
            kinds_of_pooled=np.where(is_tied, 2, num_options)[pooled_component].astype(float),
            component_of_task=of_task,
            component_of_worker=of_worker,
            components=sizes,
        )

    @property
    def task_walk(self) -> tuple[npt.NDArray[Any], ...]:
        """What sums along the tasks' side need beside the rows or candidates."""
        side = self.graph.tasks
        return (
            self.candidate_start,
            self.candidate_option,
            self.row_start,
            side.pair_start,
            side.pair_option,
            side.entry_start,
            side.neighbour_pair,
            self.task_is_tied,
            side.chunk_start,
        )

    @property
    def worker_walk(self) -> tuple[npt.NDArray[Any], ...]:
        """What `candidates_to_rows` needs beside the candidates."""
        side = self.graph.workers
        return (
            self.candidate_start,
            self.candidate_option,
            self.row_start,
            side.pair_start,
            side.pair_option,
            side.entry_start,
            side.neighbour,
            self.task_is_tied,
            side.chunk_start,
        )

    def links(self) -> tuple[IntArray, IntArray]:
        """Row and candidate of every (annotation, candidate of its task), for segment sums."""
        side = self.graph.tasks
        pair_size = np.diff(side.entry_start)
        task = np.repeat(side.pair_centre, pair_size)
        answer = np.repeat(side.pair_option, pair_size)
        count = np.diff(self.candidate_start)[task]
        entry = np.repeat(np.arange(len(task)), count)
        place = np.arange(len(entry)) - np.repeat(np.cumsum(count) - count, count)
        candidate = self.candidate_start[task[entry]] + place
        differs = self.candidate_option[candidate] != answer[entry]
        within = np.where(self.task_is_tied[task[entry]], differs, place)
        row = self.row_start[side.neighbour_pair[entry]] + within
        return row.astype(np.int32), candidate.astype(np.int32)

    @property
    def options_of_component(self) -> FloatArray:
        """Options of the whole project, per component [J]."""
        return np.array([sizes.options for sizes in self.components], np.float64)

    @property
    def num_candidates(self) -> int:
        """Number of candidates C."""
        return len(self.candidate_task)

    @property
    def num_rows(self) -> int:
        """Number of rows Q."""
        return len(self.row_pair)


class _Components(NamedTuple):
    of_task: IntArray  # [T]
    of_worker: IntArray  # [W]
    num_options: npt.NDArray[np.int64]  # [J]
    first_option: npt.NDArray[np.int64]  # [J]
    sizes: tuple[ComponentSizes, ...]  # [J]


def _candidates(graph: AnnotationGraph, is_tied: npt.NDArray[np.bool_]) -> dict[str, Any]:
    side, first_option = graph.tasks, graph.task_option_start
    answered = np.diff(side.pair_start)
    start = _offsets(np.where(is_tied, answered, graph.task_option_end - first_option))
    task, option, votes = _list_candidates(
        start, first_option, is_tied, side.pair_start, side.pair_option, side.entry_start
    )
    return {
        "candidate_start": start,
        "candidate_task": task,
        "candidate_option": option,
        "votes": votes,
    }


@numba.njit(cache=True)
def _list_candidates(
    start: IntArray,
    first_option: IntArray,
    is_tied: npt.NDArray[np.bool_],
    pair_start: IntArray,
    pair_option: IntArray,
    entry_start: IntArray,
) -> tuple[IntArray, IntArray, FloatArray]:  # pragma: no cover
    """Task, option and votes of every candidate: all options of a task, or those it was given."""
    task, option = np.empty(start[-1], np.int32), np.empty(start[-1], np.int32)
    votes = np.zeros(start[-1], np.float64)
    for t in range(len(is_tied)):
        for place in range(start[t + 1] - start[t]):
            task[start[t] + place] = t
            option[start[t] + place] = first_option[t] + place
        for p in range(pair_start[t], pair_start[t + 1]):
            place = p - pair_start[t] if is_tied[t] else pair_option[p] - first_option[t]
            option[start[t] + place] = pair_option[p]
            votes[start[t] + place] = entry_start[p + 1] - entry_start[p]
    return task, option, votes


def _components(graph: AnnotationGraph, part_of: ComponentSizes | None) -> _Components:
    """Number the components by their first task; a task without annotations is one of its own,
    workers without any share the last number."""
    if part_of is not None:
        zeros = np.zeros(max(graph.num_tasks, graph.num_workers), np.int32)
        options = np.array([part_of.options])
        of_task, of_worker = zeros[: graph.num_tasks], zeros[: graph.num_workers]
        return _Components(of_task, of_worker, options, np.zeros(1, np.int64), (part_of,))
    side = graph.tasks
    task = np.repeat(side.pair_centre, np.diff(side.entry_start))
    smallest = smallest_connected_task(
        task, side.neighbour, num_tasks=graph.num_tasks, num_workers=graph.num_workers
    )
    root = np.arange(graph.num_tasks)
    some = np.flatnonzero(side.degree)
    root[some] = smallest[side.neighbour[side.entry_start[side.pair_start[some]]]]
    roots = np.unique(root)
    of_task = np.searchsorted(roots, root).astype(np.int32)
    # The root of a worker without annotations is past all tasks.
    of_worker = np.minimum(np.searchsorted(roots, smallest), max(len(roots) - 1, 0))
    number = int(max(of_task.max(initial=-1), of_worker.max(initial=-1))) + 1
    num_options, first_option = np.zeros((2, number), np.int64)
    num_options[of_task] = graph.task_option_end - graph.task_option_start
    first_option[of_task] = graph.task_option_start
    counts = (
        np.bincount(of_worker, graph.workers.degree, number).astype(np.int64),
        np.bincount(of_task, minlength=number),
        np.bincount(of_worker, minlength=number),
        num_options,
    )
    sizes = tuple(map(ComponentSizes, *(count.tolist() for count in counts)))
    return _Components(of_task, of_worker.astype(np.int32), num_options, first_option, sizes)


def _grouped(
    major: npt.NDArray[Any], minor: npt.NDArray[Any], num_minor: int
) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Distinct major * num_minor + minor in order, and the place of every row among them."""
    key = major.astype(np.int64) * num_minor + minor
    bound = int(key.max(initial=-1)) + 1
    if bound > 4 * len(key):
        keys, place = np.unique(key, return_inverse=True)
        return keys, place.astype(np.int32)
    # Few different ones: marked where they occur, which takes no sort.
    occurs = np.zeros(bound, bool)
    occurs[key] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs, dtype=np.int32) - np.int32(1))[key]


def _offsets(counts: npt.NDArray[Any]) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
