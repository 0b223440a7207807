"""A frozen model over the parts of a component, superstep by superstep.

Between two supersteps every part's messages reach their receivers; a part that a superstep passes
over keeps its state and its messages for the next one. Everything here runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.blocks.attention_program import AttentionProgram, attention_supersteps
from crowdfm_core.blocks.messages import Cut, Message, Part, Superstep
from crowdfm_core.blocks.results import ScoredBlock
from crowdfm_core.blocks.unrolled_program import UnrolledProgram, unrolled_supersteps
from crowdfm_core.compatibility import expect_pair_head
from crowdfm_core.models import ModelConfig
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.scoring import AnnotationBatch, ScoredWorkers
from crowdfm_core.weights import FrozenWeights

__all__ = ["BlockProgram", "State", "make_block_program", "supersteps", "what_is_read"]

State = Any  # a program's own, of a block or a shard; it can be pickled


class BlockProgram(Protocol):
    """What to do with a part when; for the same messages always the same."""

    def start(
        self,
        part: Part,
        cut: Cut,
        batch: AnnotationBatch,
        worker_ids: Sequence[str],
        *,
        max_bytes: int,
    ) -> tuple[State, list[Message]]:
        """Begin with a block of one project; worker_ids [W] are alike in all blocks.

        Raises ScoringError where the block needs more than max_bytes.
        """

    def run(
        self, step: Superstep, part: Part, cut: Cut, state: State | None, inbox: Sequence[Message]
    ) -> tuple[State, list[Message]]:
        """Run one superstep on a part that takes part in it; a shard's first state is None."""

    def finish_block(self, state: State, inbox: Sequence[Message]) -> ScoredBlock:
        """Return the scores of a block's tasks."""

    def finish_shard(
        self, state: State, inbox: Sequence[Message]
    ) -> tuple[list[str], ScoredWorkers]:
        """Return the ids of a shard's workers, sorted, and their scores."""


def supersteps(config: ModelConfig, *, assigns: bool = False) -> list[Superstep]:
    """What an architecture does between the start and the finish; assigns: where tasks are
    assigned, which only the unrolled model can."""
    if isinstance(config, UnrolledConfig):
        return unrolled_supersteps(config.layers, assigns=assigns)
    return attention_supersteps(config.layers)


def what_is_read(steps: Sequence[Superstep]) -> tuple[list[range], dict[bool, range]]:
    """Say in which supersteps was sent what each superstep reads, and what is read at the end.

    Superstep 0 is the start of the blocks, steps[0] is superstep 1. Whoever takes part reads all
    that it was sent since it last did, then included, as its state is what it sent itself. At the
    end shards (True) and blocks (False) read what is left.
    """
    last = {False: 0, True: 0}
    read = []
    for number, step in enumerate(steps, start=1):
        read.append(range(last[step.of_shards], number))
        last[step.of_shards] = number
    return read, {side: range(number, len(steps) + 1) for side, number in last.items()}


def make_block_program(
    weights: FrozenWeights,
    *,
    num_draws: int,
    max_probabilities: int,
    assignments: AssignmentRule | None = None,
) -> BlockProgram:
    """Return the program of the weights' architecture; arguments and errors are as in `Scorer`."""
    if assignments is not None:
        expect_pair_head(weights.heads)
    if isinstance(weights.config, UnrolledConfig):
        return UnrolledProgram(
            weights, max_probabilities=max_probabilities, assignments=assignments
        )
    return AttentionProgram(weights, num_draws=num_draws, max_probabilities=max_probabilities)
