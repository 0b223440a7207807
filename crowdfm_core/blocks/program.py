"""A frozen model over the parts of a component, superstep by superstep.

    blocks: start .  .      update 0 .       update 1 ...  tell facts .     finish
    shards: .     start  update 0  .  update 1   .    ...  .  tell features finish

Between two supersteps every part's messages reach their receivers; a part that a superstep passes
over keeps its state and its messages for the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.blas_threads import one_blas_thread
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.backends.unrolled_numpy import CompiledUnrolledModel
from crowdfm_core.blocks.messages import Cut, Message, Part
from crowdfm_core.blocks.unrolled_blocks import (
    BlockState,
    finish_block,
    start_block,
    tell_facts,
    update_block,
)
from crowdfm_core.blocks.unrolled_shards import (
    ShardState,
    finish_shard,
    start_shard,
    tell_features,
    update_shard,
)
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.inference import LabelledTasks
from crowdfm_core.memory import DEFAULT_MAX_BYTES
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.scoring import AnnotationBatch, ScoredTasks, ScoredWorkers, scored_tasks
from crowdfm_core.weights import FrozenWeights

__all__ = ["BlockProgram", "ScoredBlock", "State", "Superstep"]

State = BlockState | ShardState


class Superstep(NamedTuple):
    """What blocks or shards do at one time; layer is 0 where there is none."""

    of_shards: bool
    name: str
    layer: int = 0


@dataclass(frozen=True)
class ScoredBlock:
    """Labels of a block's tasks, how many answers each has [T], and the share equal to it [T]."""

    tasks: ScoredTasks
    num_answers: npt.NDArray[np.int64]
    agreement: npt.NDArray[np.float64]


class BlockProgram:
    """The unrolled model as supersteps, on the CPU."""

    def __init__(self, weights: FrozenWeights, *, max_probabilities: int) -> None:
        """Take frozen weights; max_probabilities: options listed per task (>= 2)."""
        assert isinstance(weights.config, UnrolledConfig)
        ops = NumpyOps()
        tensors = {name: ops.array(value) for name, value in weights.tensors.items()}
        self.model = CompiledUnrolledModel(weights.config, tensors, ops)
        self.heads = weights.heads
        self.max_probabilities = max_probabilities

    def supersteps(self) -> list[Superstep]:
        """What happens between `start` and the finish."""
        layers = self.model.config.layers
        updates = [Superstep(side, "update", n) for n in range(layers) for side in (True, False)]
        ends = [Superstep(True, "tell"), Superstep(False, "tell")]
        return [Superstep(True, "start"), *updates, *ends]

    @one_blas_thread()
    def start(
        self,
        part: Part,
        cut: Cut,
        batch: AnnotationBatch,
        worker_ids: Sequence[str],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> tuple[State, list[Message]]:
        """Begin with a block of one project; worker_ids [W] are alike in all blocks.

        Raises ScoringError where the block needs more than max_bytes.
        """
        return start_block(self.model, part, cut, batch, worker_ids, max_bytes=max_bytes)

    @one_blas_thread()
    def run(
        self, step: Superstep, part: Part, cut: Cut, state: State | None, inbox: Sequence[Message]
    ) -> tuple[State, list[Message]]:
        """Run one superstep on a part that takes part in it; state is None before it has any."""
        if step.name == "start":
            return start_shard(self.model, part, cut, inbox)
        if isinstance(state, ShardState):
            if step.name == "update":
                return update_shard(self.model, step.layer, state, inbox)
            return tell_features(self.model, state, inbox)
        assert state is not None
        if step.name == "update":
            return update_block(self.model, step.layer, state, inbox)
        return tell_facts(self.model, state, inbox, max_probabilities=self.max_probabilities)

    @one_blas_thread()
    def finish_block(self, state: State, inbox: Sequence[Message]) -> ScoredBlock:
        """Return the scores of a block's tasks."""
        assert isinstance(state, BlockState)
        labelled = finish_block(self.model, self.heads, state, inbox)
        graph = state.layout.graph
        answers = graph.tasks.degree.astype(np.int64)
        return ScoredBlock(
            tasks=scored_tasks(labelled, graph),
            num_answers=answers,
            agreement=_agreement(state.layout, labelled) / np.maximum(answers, 1),
        )

    @one_blas_thread()
    def finish_shard(
        self, state: State, inbox: Sequence[Message]
    ) -> tuple[list[str], ScoredWorkers]:
        """Return the ids of a shard's workers, and their scores."""
        assert isinstance(state, ShardState)
        return state.worker_ids, finish_shard(self.model, self.heads, state, inbox)


def _agreement(layout: CandidateGraph, labelled: LabelledTasks) -> npt.NDArray[np.float64]:
    """Answers of each task that equal its label, [T]."""
    is_label = layout.candidate_option == labelled.label[layout.candidate_task]
    agrees = np.where(is_label, layout.votes, 0.0)
    return np.bincount(layout.candidate_task, agrees, len(labelled.label)).astype(np.float64)
