"""Scores one batch of annotations with frozen weights: index arrays in, index arrays out.

Letters: E annotations, T tasks, W workers, P projects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.assignments import RankedWorkers, answered_by, assign_workers
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.inference import LabelledTasks, make_inference
from crowdfm_core.memory import DEFAULT_MAX_BYTES, check_memory
from crowdfm_core.weights import FrozenWeights

__all__ = [
    "AnnotationBatch",
    "ScoredBatch",
    "ScoredTasks",
    "ScoredWorkers",
    "Scorer",
    "scored_tasks",
]

IntArray = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AnnotationBatch:
    """Annotations of any number of projects; tasks and workers are numbered over the batch.

    task_index, worker_index, option_index: int [E]; option_index is the place among the sorted
    options of the whole project. task_project: int [T], the place in project_ids, which seed the
    option vectors. num_options: int [P], options of each whole project.
    """

    task_index: IntArray
    worker_index: IntArray
    option_index: IntArray
    task_project: IntArray
    project_ids: Sequence[str]
    num_options: IntArray
    num_workers: int


@dataclass(frozen=True)
class ScoredTasks:
    """What the model says of tasks; options as option_index.

    Probabilities lie in [0, 1], entropy is in nats. runner_up_index is -1 where a project has one
    option. The most probable options of task t are top_option_index[top_offsets[t]:
    top_offsets[t + 1]], most probable first. difficulty is on the scale of the crowds that the
    weights were trained on (standard deviations of the 3PL model), NaN where the weights carry no
    read-out.
    """

    label_index: IntArray  # [T]
    probability: Floats  # [T]
    runner_up_index: IntArray  # [T]
    runner_up_probability: Floats  # [T]
    entropy: Floats  # [T]
    difficulty: Floats  # [T]
    top_offsets: npt.NDArray[np.int64]  # [T+1]
    top_option_index: IntArray
    top_probability: Floats


@dataclass(frozen=True)
class ScoredWorkers:
    """What the model says of workers; ability is on a scale like that of difficulty.

    expected_accuracy is the mean probability of a worker's own answers.
    """

    ability: Floats  # [W]
    expected_accuracy: Floats  # [W]
    agreement_with_aggregate: Floats  # [W]
    num_annotations: npt.NDArray[np.int64]  # [W]


@dataclass(frozen=True)
class ScoredBatch(ScoredWorkers, ScoredTasks):
    """What the model says, per task and per worker; assigned: where a rule asks for it."""

    assigned: RankedWorkers | None = None


def scored_tasks(labelled: LabelledTasks, graph: AnnotationGraph) -> ScoredTasks:
    """Return the labels of a graph's tasks with options numbered within their projects."""
    start, listed = graph.task_option_start, np.diff(labelled.top_offsets)
    runner_up = labelled.runner_up
    return ScoredTasks(
        label_index=(labelled.label - start).astype(np.int32),
        probability=labelled.probability,
        runner_up_index=np.where(runner_up < 0, -1, runner_up - start).astype(np.int32),
        runner_up_probability=labelled.runner_up_probability,
        entropy=labelled.entropy,
        difficulty=labelled.difficulty,
        top_offsets=labelled.top_offsets,
        top_option_index=(labelled.top_option - np.repeat(start, listed)).astype(np.int32),
        top_probability=labelled.top_probability,
    )


class Scorer:
    """Frozen weights on one device, ready to score batches."""

    def __init__(
        self,
        weights: FrozenWeights,
        *,
        device: str = "cpu",
        num_draws: int = 4,
        max_probabilities: int = 50,
        num_threads: int | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        assignments: AssignmentRule | None = None,
    ) -> None:
        """Fold the weights for `device` ("cpu", "cuda:0", ...).

        num_draws: draws of the option vectors whose probabilities are averaged (>= 1);
        max_probabilities: options listed per task (>= 2); num_threads: of the compiled loops;
        max_bytes: a batch that needs more is refused before it is scored; assignments: which tasks
        to assign to workers. Raises ScoringError where the weights cannot say to whom.
        """
        if num_draws < 1 or max_probabilities < 2:
            raise ScoringError(
                "expected num_draws >= 1 and max_probabilities >= 2, "
                f"got {num_draws} and {max_probabilities}"
            )
        self.num_threads = num_threads
        self.max_bytes = max_bytes
        self._config = weights.config
        self._assignments = assignments
        self._inference = make_inference(
            weights,
            device=device,
            num_draws=num_draws,
            max_probabilities=max_probabilities,
            with_factors=assignments is not None,
        )

    def score(self, batch: AnnotationBatch) -> ScoredBatch:
        """Score every task and worker of the batch; the result does not depend on row order."""
        if self.num_threads is not None:
            numba.set_num_threads(min(self.num_threads, numba.get_num_threads()))
        first_row = np.concatenate([[0], np.cumsum(batch.num_options)]).astype(np.int64)
        task_start = first_row[batch.task_project]
        task_options = np.asarray(batch.num_options)[batch.task_project]
        self._check(batch, task_options)
        graph = AnnotationGraph.from_arrays(
            batch.task_index,
            batch.worker_index,
            batch.option_index + task_start[batch.task_index],
            num_tasks=len(batch.task_project),
            num_workers=batch.num_workers,
            num_option_rows=int(first_row[-1]),
            task_option_start=task_start,
            task_option_end=task_start + task_options,
        )
        check_memory(self._config, graph, batch.project_ids, self.max_bytes)
        labelled = self._inference.label(graph, batch.project_ids, batch.num_options)
        side = graph.tasks
        agrees = labelled.label[side.pair_centre] == side.pair_option
        count = graph.workers.degree.astype(np.int64)

        def mean_per_worker(of_entry: npt.NDArray[Any]) -> Floats:
            # Summed in the graph's order, so that the input's order leaves no trace.
            total = np.bincount(side.neighbour, of_entry, batch.num_workers)
            return total / np.maximum(count, 1)

        return ScoredBatch(
            **vars(scored_tasks(labelled, graph)),
            ability=labelled.ability,
            expected_accuracy=mean_per_worker(labelled.own_probability),
            agreement_with_aggregate=mean_per_worker(np.repeat(agrees, np.diff(side.entry_start))),
            num_annotations=count,
            assigned=self._assigned(graph, labelled),
        )

    def _assigned(self, graph: AnnotationGraph, labelled: LabelledTasks) -> RankedWorkers | None:
        if self._assignments is None:
            return None
        assert labelled.factors is not None
        answered = answered_by(graph)
        return assign_workers(self._assignments, labelled.factors, answered, labelled.probability)

    def _check(self, batch: AnnotationBatch, task_options: npt.NDArray[Any]) -> None:
        if len(batch.project_ids) != len(batch.num_options):
            raise ScoringError(
                f"expected one num_options per project, got {len(batch.num_options)} "
                f"for {len(batch.project_ids)} projects"
            )
        bad = np.asarray(batch.option_index) >= task_options[batch.task_index]
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            project = batch.project_ids[batch.task_project[batch.task_index[row]]]
            raise ScoringError(
                f"project {project!r}: expected option_index below "
                f"{task_options[batch.task_index[row]]}, got {batch.option_index[row]}"
            )
