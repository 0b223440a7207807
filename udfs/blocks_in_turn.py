"""Runs parts of components, one superstep per call, each part in a partition of its own.

`read_blocks` and `score_rows` are for mapInArrow: from rows of INPUT_COLUMNS to PIECE_SCHEMA, and
to SCORE_SCHEMA. The others are for partitions of RDDs, one for each block or for each shard, of
pieces with the nodes that they are sent to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from crowdfm_core.blocks.messages import Message, Superstep
from crowdfm_core.blocks.program import State
from udfs.batch_tables import OUTPUT_ROWS
from udfs.block_transport import Parcel, Piece, pack, piece_rows, unpack
from udfs.blocks import (
    Block,
    CutComponent,
    FrozenModel,
    Nodes,
    read_block,
    table_of_block,
    table_of_shard,
)
from udfs.groups import whole_groups

__all__ = [
    "finish_blocks",
    "finish_shards",
    "read_blocks",
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
class _Mail:
    """What a node was sent: by itself, its state and at first its block, and by others.

    It is opened in functions that return, so that nothing holds it while the node sends.
    """

    block: Block | None
    state: State | None
    inbox: list[Message]


def read_blocks(batches: Batches) -> Iterator[pa.RecordBatch]:
    """Every batch_index is a block's node; a batch has all annotations of the block's tasks."""
    for rows in whole_groups(batches, ["batch_index"], min_rows=1):
        node = rows.column("batch_index")[0].as_py()
        block = read_block(rows)
        del rows
        if block is not None:
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


def finish_blocks(model: FrozenModel) -> Callable[[Sent], Streams]:
    """Turn the last states of blocks into scores of tasks, as streams for `score_rows`.

    Blocks are sent what was read of them, too.
    """

    def run(sent: Sent) -> Streams:
        return _streams(scores(_unpacked(sent)))

    def scores(mail: _Mail) -> pa.Table | None:
        if mail.block is None:
            return None
        return table_of_block(
            mail.block.names, model.program().finish_block(mail.state, mail.inbox)
        )

    return run


def finish_shards(nodes: Nodes, model: FrozenModel) -> Callable[[int, Sent], Streams]:
    """Turn the last states of shards into scores of workers, as streams for `score_rows`."""

    def run(partition: int, sent: Sent) -> Streams:
        component, _ = nodes[nodes.shards[partition]]
        return _streams(scores(component, _unpacked(sent)))

    def scores(component: CutComponent, mail: _Mail) -> pa.Table:
        return table_of_shard(component, *model.program().finish_shard(mail.state, mail.inbox))

    return run


def score_rows(batches: Batches) -> Iterator[pa.RecordBatch]:
    """Open streams of scores, one per row."""
    for batch in batches:
        for stream in batch.column(0):
            yield from pa.ipc.open_stream(stream.as_buffer())


def _unpacked(sent: Sent) -> _Mail:
    """What the only node of a partition was sent."""
    found = unpack(sent)
    assert len(found) <= 1
    block: Block | None = None
    state: State | None = None
    inbox = []
    for content in next(iter(found.values()), []):
        if isinstance(content, Message):
            inbox.append(content)
        elif isinstance(content, Block):
            block = content
        else:
            state = content
    return _Mail(block, state, inbox)


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
