"""Packs simulated crowds into one graph, so that a training step is one pass of the model.

Letters: E annotations, T tasks, W workers, K option rows, B crowds, C candidates, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.candidates import MAX_DENSE_OPTIONS, CandidateGraph
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models import ModelConfig
from crowdfm_core.models.unrolled import UnrolledConfig
from crowdfm_core.simulation import CrowdGenerator, SimulatedCrowd

__all__ = ["PackedCrowds", "draw_packed_crowds", "pack_crowds", "stream_rng"]

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.floating[Any]]

# Streams of random numbers of one run; a stream never depends on what another one consumed.
_STREAMS = {"training": 0, "validation": 1, "weights": 2, "heads": 3}


@dataclass(frozen=True)
class PackedCrowds:
    """B crowds side by side; a candidate is one (task, option of its own crowd) pair."""

    crowds: tuple[SimulatedCrowd, ...]
    graph: AnnotationGraph
    option_vectors: npt.NDArray[np.float32] | None  # [K, D], for attention
    layout: CandidateGraph | None  # for unrolled models
    candidate_task: IntArray  # [C] ascending
    candidate_option: IntArray  # [C] option row
    true_candidate: IntArray  # [T], -1 where the truth is no candidate
    task_crowd: IntArray  # [T]
    worker_crowd: IntArray  # [W]

    @property
    def tasks_per_crowd(self) -> IntArray:
        """Number of tasks of each crowd, int [B]."""
        return np.bincount(self.task_crowd, minlength=len(self.crowds))

    @property
    def task_weight(self) -> npt.NDArray[np.float32]:
        """Weight of each task, float [T], with the same total for every crowd; the sum is 1 if
        every truth is a candidate, and tasks whose truth is none weigh nothing."""
        per_crowd = 1.0 / (len(self.crowds) * self.tasks_per_crowd)
        weight = per_crowd[self.task_crowd] * (self.true_candidate >= 0)
        return weight.astype(np.float32)


def stream_rng(seed: int, stream: str, position: int) -> np.random.Generator:
    """Return the generator of one position (a step, a crowd) of one stream of a run.

    Positions do not share state, so a resumed run goes on with the numbers it would have seen.
    """
    return np.random.default_rng([seed, _STREAMS[stream], position])


def draw_packed_crowds(
    generator: CrowdGenerator,
    rng: np.random.Generator,
    *,
    num_crowds: int,
    model: ModelConfig,
    tied_share: float = 0.0,
) -> PackedCrowds:
    """Draw crowds and what `model` needs beside them from one random generator, and pack them."""
    crowds = [generator.sample(rng) for _ in range(num_crowds)]
    return pack_crowds(crowds, rng, model=model, tied_share=tied_share)


def pack_crowds(
    crowds: list[SimulatedCrowd],
    rng: np.random.Generator,
    *,
    model: ModelConfig,
    tied_share: float = 0.0,
) -> PackedCrowds:
    """Pack crowds for a model.

    For attention `rng` draws fresh option vectors N(0, I); for unrolled models it decides with
    probability `tied_share` that all crowds are laid out as those with many options are.
    """
    tasks = np.array([crowd.num_tasks for crowd in crowds])
    workers = np.array([crowd.num_workers for crowd in crowds])
    options = np.array([crowd.num_options for crowd in crowds])
    task_start, worker_start, option_start = map(_starts, (tasks, workers, options))
    task_crowd = np.repeat(np.arange(len(crowds)), tasks)
    num_tasks = int(tasks.sum())

    first_option = option_start[task_crowd]
    graph = AnnotationGraph.from_arrays(
        _shifted([crowd.task_index for crowd in crowds], task_start),
        _shifted([crowd.worker_index for crowd in crowds], worker_start),
        _shifted([crowd.option_index for crowd in crowds], option_start),
        num_tasks=num_tasks,
        num_workers=int(workers.sum()),
        num_option_rows=int(options.sum()),
        task_option_start=first_option,
        task_option_end=first_option + options[task_crowd],
    )
    layout = vectors = None
    if isinstance(model, UnrolledConfig):
        tied = rng.random() < tied_share
        layout = CandidateGraph.of(graph, max_dense_options=0 if tied else MAX_DENSE_OPTIONS)
        candidate_task, candidate_option = layout.candidate_task, layout.candidate_option
    else:
        vectors = rng.standard_normal((int(options.sum()), model.width), np.float32)
        per_task = options[task_crowd]
        candidate_task = np.repeat(np.arange(num_tasks), per_task)
        place = np.arange(len(candidate_task)) - _starts(per_task)[candidate_task]
        candidate_option = first_option[candidate_task] + place
    true_option = first_option + np.concatenate([crowd.true_option for crowd in crowds])
    right = np.flatnonzero(candidate_option == true_option[candidate_task])
    true_candidate = np.full(num_tasks, -1)
    true_candidate[candidate_task[right]] = right
    return PackedCrowds(
        crowds=tuple(crowds),
        graph=graph,
        option_vectors=vectors,
        layout=layout,
        candidate_task=candidate_task,
        candidate_option=candidate_option,
        true_candidate=true_candidate,
        task_crowd=task_crowd,
        worker_crowd=np.repeat(np.arange(len(crowds)), workers),
    )


def _starts(counts: IntArray) -> IntArray:
    return np.cumsum(counts) - counts


def _shifted(parts: list[npt.NDArray[np.int32]], starts: IntArray) -> npt.NDArray[np.int32]:
    return np.concatenate(
        [part + np.int32(start) for part, start in zip(parts, starts, strict=True)]
    )
