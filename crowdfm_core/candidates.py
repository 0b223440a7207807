"""Where the unrolled model keeps its states: candidates of tasks, rows of (worker, answer) pairs.

Letters: E annotations, T tasks, W workers, K option rows, P distinct (worker, option) pairs,
C candidates, Q rows, J projects.

A project with few options is `dense`: every option is a candidate of every task, and a pair
(worker, answered option) has one row per true option. A project with many is `tied`: only options
that somebody gave a task are its candidates, and a pair has two rows, one for a true option equal
to the answer and one for all others, so that nothing of size options x options is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.graph import AnnotationGraph, IntArray

__all__ = ["MAX_DENSE_OPTIONS", "CandidateGraph"]

MAX_DENSE_OPTIONS = 16

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CandidateGraph:
    """Index arrays over one batch; sums over groups are the only way states meet."""

    graph: AnnotationGraph
    candidate_start: IntArray  # [T+1] first candidate of each task
    candidate_task: IntArray  # [C]
    candidate_option: IntArray  # [C] option row
    task_is_tied: npt.NDArray[np.bool_]  # [T]
    votes: FloatArray  # [C] answers of the task equal to the candidate
    row_start: IntArray  # [P+1] first row of each pair
    row_pair: IntArray  # [Q]
    row_is_same: FloatArray  # [Q] 1 where the true option is the answer
    row_is_tied: FloatArray  # [Q] 1 where the project is tied
    row_worker: IntArray  # [Q]
    row_truth: IntArray  # [Q] group (worker, true option), or (worker, same or other)
    num_truths: int
    row_pooled: IntArray  # [Q] group (answer, true option) of the project, or (same or other)
    pooled_truth: IntArray  # group of a pooled one: (project, true option), or project
    num_pooled_truths: int
    project_of_option: IntArray  # [K]
    project_of_worker: IntArray  # [W]
    tasks_of_project: FloatArray  # [J]
    options_of_project: FloatArray  # [J]

    @classmethod
    def of(
        cls, graph: AnnotationGraph, *, max_dense_options: int = MAX_DENSE_OPTIONS
    ) -> CandidateGraph:
        """Lay out the states of a batch; projects with more options than that are tied."""
        start, end = graph.task_option_start, graph.task_option_end
        first, project_of_task = np.unique(start, return_inverse=True)
        num_options = np.zeros(len(first), np.int64)
        num_options[project_of_task] = end - start
        is_tied = num_options > max_dense_options
        project_of_option = np.zeros(graph.num_option_rows, np.int32)
        marks = np.searchsorted(first, np.arange(graph.num_option_rows), side="right") - 1
        project_of_option[:] = np.maximum(marks, 0)

        candidates = _candidates(graph, is_tied[project_of_task])
        pair_worker, pair_option = graph.workers.pair_centre, graph.workers.pair_option
        pair_project = project_of_option[pair_option]
        per_pair = np.where(is_tied, 2, num_options)[pair_project]
        row_start = _offsets(per_pair)
        row_pair = np.repeat(np.arange(len(pair_option), dtype=np.int32), per_pair)
        place = np.arange(row_start[-1]) - row_start[row_pair]  # true option, or 0 same, 1 other
        row_project = pair_project[row_pair]
        row_tied = is_tied[row_project]
        answer = pair_option[row_pair] - first[row_project]
        row_worker = pair_worker[row_pair]

        project_of_worker = np.zeros(graph.num_workers, np.int32)
        project_of_worker[pair_worker] = pair_project
        kinds = np.where(is_tied, 2, num_options)
        truth_start = _offsets(kinds[project_of_worker])
        pooled_start = _offsets(np.where(is_tied, 2, num_options * num_options))
        pooled_truths = np.where(is_tied, 1, num_options)
        pooled_truth_start = _offsets(pooled_truths)
        within = np.where(row_tied, place, answer * num_options[row_project] + place)
        pooled_project = np.repeat(np.arange(len(first)), np.diff(pooled_start))
        pooled_place = np.arange(pooled_start[-1]) - pooled_start[pooled_project]
        pooled_truth = (
            pooled_truth_start[pooled_project] + pooled_place % pooled_truths[pooled_project]
        )
        return cls(
            graph=graph,
            **candidates,
            task_is_tied=is_tied[project_of_task],
            row_start=row_start,
            row_pair=row_pair,
            row_is_same=np.where(row_tied, place == 0, place == answer).astype(np.float64),
            row_is_tied=row_tied.astype(np.float64),
            row_worker=row_worker,
            row_truth=(truth_start[row_worker] + place).astype(np.int32),
            num_truths=int(truth_start[-1]),
            row_pooled=(pooled_start[row_project] + within).astype(np.int32),
            pooled_truth=pooled_truth.astype(np.int32),
            num_pooled_truths=int(pooled_truth_start[-1]),
            project_of_option=project_of_option,
            project_of_worker=project_of_worker,
            tasks_of_project=np.bincount(project_of_task, minlength=len(first)).astype(float),
            options_of_project=num_options.astype(float),
        )

    @property
    def task_walk(self) -> tuple[npt.NDArray[Any], ...]:
        """What `rows_to_candidates` needs beside the rows."""
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
    def num_candidates(self) -> int:
        """Number of candidates C."""
        return len(self.candidate_task)

    @property
    def num_rows(self) -> int:
        """Number of rows Q."""
        return len(self.row_pair)


def _candidates(graph: AnnotationGraph, is_tied: npt.NDArray[np.bool_]) -> dict[str, Any]:
    start = graph.task_option_start
    side = graph.tasks
    answered = np.diff(side.pair_start)
    per_task = np.where(is_tied, answered, graph.task_option_end - start)
    candidate_start = _offsets(per_task)
    task = np.repeat(np.arange(graph.num_tasks, dtype=np.int32), per_task)
    place = np.arange(candidate_start[-1]) - candidate_start[task]
    option = start[task] + place
    tied = is_tied[task]
    option[tied] = side.pair_option[(side.pair_start[task] + place)[tied]]
    # Where each answered (task, option) pair stands among the candidates.
    pair_task = side.pair_centre
    pair_place = np.where(
        is_tied[pair_task],
        np.arange(len(pair_task)) - side.pair_start[pair_task],
        side.pair_option - start[pair_task],
    )
    votes = np.zeros(len(task))
    votes[candidate_start[pair_task] + pair_place] = np.diff(side.entry_start)
    return {
        "candidate_start": candidate_start,
        "candidate_task": task,
        "candidate_option": option.astype(np.int32),
        "votes": votes,
    }


def _offsets(counts: npt.NDArray[Any]) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
