"""Large components in parts: which there are, what is read of a block, and rows of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.blocks.messages import Cut, Part
from crowdfm_core.blocks.program import BlockProgram
from crowdfm_core.blocks.results import ScoredBlock
from crowdfm_core.scoring import AnnotationBatch, ScoredWorkers
from udfs.batch_tables import DecodedBatch, TaskNames, assigned_lists, task_table, worker_table
from udfs.runtime import block_program_for

__all__ = [
    "Block",
    "CutComponent",
    "FrozenModel",
    "Nodes",
    "read_block",
    "table_of_block",
    "table_of_shard",
]


@dataclass(frozen=True)
class CutComponent:
    """A component in parts; first_block, first_shard: nodes of its first ones."""

    project_id: str
    component_id: str
    cut: Cut
    first_block: int
    first_shard: int

    def node_of(self, part: Part) -> int:
        """The node that a part of this component is."""
        return part.number + (self.first_shard if part.is_shard else self.first_block)


class Nodes:
    """Which part of which component a node is, of components that follow one another; all blocks
    come before all shards."""

    def __init__(self, components: Sequence[CutComponent]) -> None:
        self._parts: dict[int, tuple[CutComponent, Part]] = {}
        for component in components:
            for is_shard, number in ((False, component.cut.blocks), (True, component.cut.shards)):
                for part in (Part(is_shard, place) for place in range(number)):
                    self._parts[component.node_of(part)] = component, part
        first, last = components[0], components[-1]
        self.blocks = range(first.first_block, last.first_block + last.cut.blocks)
        self.shards = range(first.first_shard, last.first_shard + last.cut.shards)

    def __getitem__(self, node: int) -> tuple[CutComponent, Part]:
        return self._parts[node]


@dataclass(frozen=True)
class FrozenModel:
    """The weights that every executor must have, what is listed of their results, and which tasks
    are assigned to workers."""

    weights: str
    weights_sha256: str
    num_draws: int
    max_probabilities: int
    assignments: AssignmentRule | None = None

    def program(self) -> BlockProgram:
        """The model of this Python worker."""
        return block_program_for(
            self.weights,
            self.weights_sha256,
            self.num_draws,
            self.max_probabilities,
            self.assignments,
        )


@dataclass(frozen=True)
class Block:
    """What is read of a block; worker_ids [W] in the order of the batch's indices."""

    batch: AnnotationBatch
    worker_ids: list[str]
    names: TaskNames


def read_block(rows: pa.Table) -> Block | None:
    """Read rows of INPUT_COLUMNS of one block; None for a block without tasks."""
    if rows.column("task_id").null_count == len(rows):
        return None  # but its project's options
    decoded = DecodedBatch(rows)
    worker_ids = decoded.text("worker_id", decoded.worker_row).to_pylist()
    return Block(decoded.batch, worker_ids, decoded.task_names())


def table_of_block(names: TaskNames, scored: ScoredBlock) -> pa.Table:
    """One row of SCORE_SCHEMA per task of a block."""
    assigned = None
    if scored.assigned is not None:
        workers = pa.array(scored.worker_ids, pa.string())
        assigned = assigned_lists(scored.assigned, len(scored.num_answers), workers)
    return task_table(names, scored.tasks, scored.num_answers, scored.agreement, assigned)


def table_of_shard(
    component: CutComponent, worker_ids: Sequence[str], scored: ScoredWorkers
) -> pa.Table:
    """One row of SCORE_SCHEMA per worker of a shard."""
    return worker_table(
        pa.repeat(component.project_id, len(worker_ids)),
        pa.repeat(component.component_id, len(worker_ids)),
        pa.array(worker_ids, pa.string()),
        scored,
    )
