"""The unrolled model over blocks of tasks and shards of workers.

blocks: start  .      .         update 0  .         update 1  ...  .              tell facts  finish
shards: .      start  update 0  .         update 1  .         ...  tell features  .           finish

Where tasks are assigned, the shards tell of their workers before the finish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.blocks.messages import Cut, Message, Part, Superstep
from crowdfm_core.blocks.results import ScoredBlock
from crowdfm_core.blocks.unrolled_blocks import (
    BlockState,
    finish_block,
    start_block,
    tell_facts,
    update_block,
)
from crowdfm_core.blocks.unrolled_shards import (
    ScoredShard,
    ShardState,
    finish_shard,
    start_shard,
    tell_features,
    tell_workers,
    update_shard,
)
from crowdfm_core.inference import unrolled_model
from crowdfm_core.scoring import AnnotationBatch, ScoredWorkers
from crowdfm_core.weights import FrozenWeights

__all__ = ["UnrolledProgram", "unrolled_supersteps"]

_State = BlockState | ShardState | ScoredShard


def unrolled_supersteps(layers: int, *, assigns: bool) -> list[Superstep]:
    """What happens between the start and the finish; assigns: whether tasks are assigned."""
    updates = [Superstep(side, "update", n) for n in range(layers) for side in (True, False)]
    ends = [Superstep(True, "tell"), Superstep(False, "tell")]
    if assigns:
        ends.append(Superstep(True, "tell workers"))
    return [Superstep(True, "start"), *updates, *ends]


class UnrolledProgram:
    """See `BlockProgram`."""

    def __init__(
        self,
        weights: FrozenWeights,
        *,
        max_probabilities: int,
        assignments: AssignmentRule | None,
    ) -> None:
        self.model = unrolled_model(weights, NumpyOps())
        self.heads = weights.heads
        self.max_probabilities = max_probabilities
        self.assignments = assignments

    def start(
        self,
        part: Part,
        cut: Cut,
        batch: AnnotationBatch,
        worker_ids: Sequence[str],
        *,
        max_bytes: int,
    ) -> tuple[_State, list[Message]]:
        """See `BlockProgram`."""
        return start_block(self.model, part, cut, batch, worker_ids, max_bytes=max_bytes)

    def run(
        self, step: Superstep, part: Part, cut: Cut, state: _State | None, inbox: Sequence[Message]
    ) -> tuple[_State, list[Message]]:
        """See `BlockProgram`."""
        if step.name == "start":
            return start_shard(self.model, part, cut, inbox)
        with_factors = self.assignments is not None
        if isinstance(state, ShardState):
            if step.name == "update":
                return update_shard(self.model, step.layer, state, inbox)
            if step.name == "tell workers":
                return tell_workers(self.model, self.heads, state, inbox)
            return tell_features(self.model, state, inbox, with_factors=with_factors)
        assert isinstance(state, BlockState)
        if step.name == "update":
            return update_block(self.model, step.layer, state, inbox)
        return tell_facts(
            self.model,
            self.heads,
            state,
            inbox,
            max_probabilities=self.max_probabilities,
            with_factors=with_factors,
        )

    def finish_block(self, state: Any, inbox: Sequence[Message]) -> ScoredBlock:
        """See `BlockProgram`."""
        return finish_block(self.model, self.heads, state, inbox, rule=self.assignments)

    def finish_shard(self, state: Any, inbox: Sequence[Message]) -> tuple[list[str], ScoredWorkers]:
        """See `BlockProgram`."""
        return state.worker_ids, finish_shard(self.model, self.heads, state, inbox)
