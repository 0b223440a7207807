"""Runs the parts of large components, one superstep per call, each part in a partition of its own.

`read_blocks` and `score_rows` are for mapInArrow: from rows of INPUT_COLUMNS to PIECE_SCHEMA, and
to SCORE_SCHEMA. The others are for partitions of RDDs, one for each block or for each shard, of
pieces with the nodes that they are sent to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.blocks.messages import Cut, Message, Part, Superstep
from crowdfm_core.blocks.program import BlockProgram, State
from crowdfm_core.blocks.results import ScoredBlock
from crowdfm_core.scoring import AnnotationBatch
from udfs.batch_tables import (
    OUTPUT_ROWS,
    DecodedBatch,
    TaskNames,
    assigned_lists,
    task_table,
    worker_table,
)
from udfs.block_transport import Parcel, Piece, pack, piece_rows, unpack
from udfs.groups import whole_groups
from udfs.runtime import block_program_for

__all__ = [
    "CutComponent",
    "Finished",
    "FrozenModel",
    "Mail",
    "Nodes",
    "OnPartition",
    "Pieces",
    "Sent",
    "finish",
    "finish_blocks",
    "finish_shards",
    "read_blocks",
    "read_mail",
    "run_superstep",
    "score_rows",
    "start_blocks",
]

Batches = Iterable[pa.RecordBatch]
Sent = Iterable[tuple[int, Piece]]
Pieces = Iterator[tuple[int, Piece]]
OnPartition = Callable[[int, Sent], Pieces]
Streams = Iterator[tuple[bytes]]


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
class _Block:
    """What is read of a block; worker_ids [W] in the order of the batch's indices."""

    batch: AnnotationBatch
    worker_ids: list[str]
    names: TaskNames


@dataclass(frozen=True)
class Finished:
    """What a part ends with, in place of its state: scores as its program's finish_block, or
    finish_shard, returned them."""

    scores: Any


@dataclass(frozen=True)
class Mail:
    """What a node was sent: by itself, its state and at first its block, and by others.

    It is opened in functions that return, so that nothing holds it while the node sends.
    """

    block: _Block | None
    state: State | None
    inbox: list[Message]


def read_blocks(batches: Batches) -> Iterator[pa.RecordBatch]:
    """Every batch_index is a block's node; a batch has all annotations of the block's tasks."""
    for rows in whole_groups(batches, ["batch_index"], min_rows=1):
        if rows.column("task_id").null_count == len(rows):
            continue  # a block without tasks
        node = rows.column("batch_index")[0].as_py()
        block = _block_of(rows)
        del rows
        # It may be read together with what is sent in superstep 0.
        yield from piece_rows(pack([Parcel(node, block)], superstep=-1, sender=node))


def start_blocks(nodes: Nodes, model: FrozenModel, *, max_bytes: int) -> OnPartition:
    """Start the blocks, which are sent what was read of them."""

    def start(partition: int, sent: Sent) -> Pieces:
        node = nodes.blocks[partition]
        return pack(begin(node, sent), superstep=0, sender=node)

    def begin(node: int, sent: Sent) -> list[Parcel]:
        component, part = nodes[node]
        block = _unpacked(sent).block
        if block is None:
            return []  # without tasks
        state, messages = model.program().start(
            part, component.cut, block.batch, block.worker_ids, max_bytes=max_bytes
        )
        return _parcels(nodes, node, state, messages)

    return start


def run_superstep(nodes: Nodes, model: FrozenModel, step: Superstep, number: int) -> OnPartition:
    """Run a superstep on the blocks, or on the shards.

    They are sent what `what_is_read` says.
    """
    taking_part = nodes.shards if step.of_shards else nodes.blocks

    def run(partition: int, sent: Sent) -> Pieces:
        node = taking_part[partition]
        return pack(advance(node, sent), superstep=number, sender=node)

    def advance(node: int, sent: Sent) -> list[Parcel]:
        component, part = nodes[node]
        mail = _unpacked(sent)
        if mail.state is None and not part.is_shard:
            return []  # a block without tasks, which others still write to
        state, messages = model.program().run(step, part, component.cut, mail.state, mail.inbox)
        return _parcels(nodes, node, state, messages)

    return run


def finish(
    model: FrozenModel, state: State, inbox: Sequence[Message], *, is_shard: bool
) -> Finished:
    """Finish a part after the last superstep, unless that has been done."""
    if isinstance(state, Finished):
        return state
    program = model.program()
    end = program.finish_shard if is_shard else program.finish_block
    return Finished(end(state, inbox))


def finish_blocks(model: FrozenModel) -> Callable[[Sent], Streams]:
    """Turn what blocks ended with, or their last states, into scores of tasks, as streams for
    `score_rows`.

    Blocks are sent what was read of them, too.
    """

    def run(sent: Sent) -> Streams:
        return _streams(scores(sent))

    def scores(sent: Sent) -> pa.Table | None:
        mail = _unpacked(sent)
        if mail.block is None:
            return None
        scored: ScoredBlock = finish(model, mail.state, mail.inbox, is_shard=False).scores
        assigned = None
        if scored.assigned is not None:
            workers = pa.array(scored.worker_ids, pa.string())
            assigned = assigned_lists(scored.assigned, len(scored.num_answers), workers)
        return task_table(
            mail.block.names, scored.tasks, scored.num_answers, scored.agreement, assigned
        )

    return run


def finish_shards(nodes: Nodes, model: FrozenModel) -> Callable[[int, Sent], Streams]:
    """Turn what shards ended with, or their last states, into scores of workers, as streams for
    `score_rows`."""

    def run(partition: int, sent: Sent) -> Streams:
        return _streams(scores(nodes.shards[partition], sent))

    def scores(node: int, sent: Sent) -> pa.Table:
        component, _ = nodes[node]
        mail = _unpacked(sent)
        worker_ids, workers = finish(model, mail.state, mail.inbox, is_shard=True).scores
        return worker_table(
            pa.repeat(component.project_id, len(worker_ids)),
            pa.repeat(component.component_id, len(worker_ids)),
            pa.array(worker_ids, pa.string()),
            workers,
        )

    return run


def score_rows(batches: Batches) -> Iterator[pa.RecordBatch]:
    """Open streams of scores, one per row."""
    for batch in batches:
        for stream in batch.column(0):
            yield from pa.ipc.open_stream(stream.as_buffer())


def _block_of(rows: pa.Table) -> _Block:
    decoded = DecodedBatch(rows)
    worker_ids = decoded.text("worker_id", decoded.worker_row).to_pylist()
    return _Block(decoded.batch, worker_ids, decoded.task_names())


def read_mail(contents: Iterable[Any]) -> Mail:
    """Sort what one node was sent, as `unpack` returns it."""
    block: _Block | None = None
    state: State | None = None
    inbox = []
    for content in contents:
        if isinstance(content, Message):
            inbox.append(content)
        elif isinstance(content, _Block):
            block = content
        else:
            state = content
    return Mail(block, state, inbox)


def _unpacked(sent: Sent) -> Mail:
    """What the only node of a partition was sent."""
    found = unpack(sent)
    assert len(found) <= 1
    return read_mail(next(iter(found.values()), []))


def _parcels(nodes: Nodes, node: int, state: State, messages: Sequence[Message]) -> list[Parcel]:
    component, _ = nodes[node]
    return [
        Parcel(node, state),
        *(Parcel(component.node_of(message.to), message) for message in messages),
    ]


def _streams(table: pa.Table | None) -> Streams:
    batches = [] if table is None else table.to_batches(max_chunksize=OUTPUT_ROWS)
    for rows in batches:
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_batch(rows)
        yield (stream.getvalue().to_pybytes(),)
