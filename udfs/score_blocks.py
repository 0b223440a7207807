"""Runs the parts of large components, one superstep per call, each part in a partition of its own.

Functions for mapInArrow: `start_blocks` takes rows of INPUT_COLUMNS; it and `run_superstep` give
rows of PART_SCHEMA, which `run_superstep` and `finish_parts` take; the latter gives SCORE_SCHEMA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from crowdfm_core.blocks.messages import Cut, Message, Part, Superstep
from crowdfm_core.blocks.program import BlockProgram, State
from udfs.batch_tables import (
    OUTPUT_ROWS,
    DecodedBatch,
    TaskNames,
    task_table,
    worker_table,
)
from udfs.block_transport import Parcel, pack, unpack
from udfs.groups import whole_groups
from udfs.runtime import block_program_for

__all__ = ["CutComponent", "FrozenModel", "Nodes", "finish_parts", "run_superstep", "start_blocks"]

Batches = Iterable[pa.RecordBatch]
Mapped = Callable[[Batches], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class CutComponent:
    """A component in parts; first_block, first_shard: nodes of its first ones."""

    project_id: str
    component_id: str
    cut: Cut
    first_block: int
    first_shard: int


class Nodes:
    """Which part of which component a node is."""

    def __init__(self, components: Sequence[CutComponent]) -> None:
        self._parts: dict[int, tuple[CutComponent, Part]] = {}
        for component in components:
            for number in range(component.cut.blocks):
                place = component, Part(is_shard=False, number=number)
                self._parts[component.first_block + number] = place
            for number in range(component.cut.shards):
                place = component, Part(is_shard=True, number=number)
                self._parts[component.first_shard + number] = place

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, node: int) -> tuple[CutComponent, Part]:
        return self._parts[node]


@dataclass(frozen=True)
class FrozenModel:
    """The weights that every executor must have, and what is listed of their results."""

    weights: str
    weights_sha256: str
    num_draws: int
    max_probabilities: int

    def program(self) -> BlockProgram:
        """The model of this Python worker."""
        return block_program_for(
            self.weights, self.weights_sha256, self.num_draws, self.max_probabilities
        )


@dataclass(frozen=True)
class _Own:
    """What a node sends to itself: its state, and the strings that its indices stand for."""

    state: State
    names: TaskNames | None


# What a node keeps and what it sends. It is made in functions of their own, so that what the node
# was sent is let go before it sends.
_Result = tuple[_Own, list[Message]]


def start_blocks(nodes: Nodes, model: FrozenModel, *, max_bytes: int) -> Mapped:
    """Every batch_index is a block's node; a batch has all annotations of the block's tasks."""

    def start(batches: Batches) -> Iterator[pa.RecordBatch]:
        for rows in whole_groups(batches, ["batch_index"], min_rows=1):
            if rows.column("task_id").null_count == len(rows):
                continue  # a block without tasks
            node = rows.column("batch_index")[0].as_py()
            result = begin(node, rows)
            del rows
            yield from _send(nodes, node, result, superstep=0)

    def begin(node: int, rows: pa.Table) -> _Result:
        component, part = nodes[node]
        decoded = DecodedBatch(rows)
        worker_ids = decoded.text("worker_id", decoded.worker_row).to_pylist()
        state, sent = model.program().start(
            part, component.cut, decoded.batch, worker_ids, max_bytes=max_bytes
        )
        return _Own(state, decoded.task_names()), sent

    return start


def run_superstep(nodes: Nodes, model: FrozenModel, step: Superstep, number: int) -> Mapped:
    """Run a superstep on the parts that take part; the others' rows pass through."""

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        node, batches = _node_of(batches)
        if node is None:
            return
        if nodes[node][1].is_shard != step.of_shards:
            yield from batches
            return
        result = advance(node, batches)
        if result is not None:
            yield from _send(nodes, node, result, superstep=number)

    def advance(node: int, batches: Batches) -> _Result | None:
        component, part = nodes[node]
        own, inbox = _opened(batches)
        if own is None and not part.is_shard:
            return None  # a block without tasks, which others still write to
        state, sent = model.program().run(
            step, part, component.cut, None if own is None else own.state, inbox
        )
        return _Own(state, None if own is None else own.names), sent

    return run


def finish_parts(nodes: Nodes, model: FrozenModel) -> Mapped:
    """Turn the last states into scores of tasks and of workers."""

    def finish(batches: Batches) -> Iterator[pa.RecordBatch]:
        node, batches = _node_of(batches)
        if node is None:
            return
        component, part = nodes[node]
        own, inbox = _opened(batches)
        if own is None:
            return
        if part.is_shard:
            worker_ids, workers = model.program().finish_shard(own.state, inbox)
            table = worker_table(
                pa.repeat(component.project_id, len(worker_ids)),
                pa.repeat(component.component_id, len(worker_ids)),
                pa.array(worker_ids, pa.string()),
                workers,
            )
        else:
            assert own.names is not None
            scored = model.program().finish_block(own.state, inbox)
            table = task_table(own.names, scored.tasks, scored.num_answers, scored.agreement)
        yield from table.to_batches(max_chunksize=OUTPUT_ROWS)

    return finish


def _node_of(batches: Batches) -> tuple[int | None, Batches]:
    """The node that all rows of this partition are for, and the rows."""
    rest = (batch for batch in batches if batch.num_rows)
    first = next(rest, None)
    if first is None:
        return None, ()
    node: int = first.column("node")[0].as_py()
    return node, chain([first], rest)


def _opened(batches: Batches) -> tuple[_Own | None, list[Message]]:
    contents = unpack(batches)
    own = [content for content in contents if isinstance(content, _Own)]
    inbox = [content for content in contents if isinstance(content, Message)]
    return (own[0] if own else None), inbox


def _send(nodes: Nodes, node: int, result: _Result, *, superstep: int) -> Iterator[pa.RecordBatch]:
    component, _ = nodes[node]
    own, sent = result
    parcels = [Parcel(node, own)]
    for message in sent:
        first = component.first_shard if message.to.is_shard else component.first_block
        parcels.append(Parcel(first + message.to.number, message))
    return pack(parcels, superstep=superstep, sender=node)
