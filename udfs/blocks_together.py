"""Scores large components in one barrier stage, whose tasks hold all parts.

What `udfs.blocks_in_turn` does one part and one superstep at a time, with the same results: parts
stay in the memory of the task that they belong to, and what they send goes straight to the
receiver's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
from pyspark import BarrierTaskContext

from crowdfm_core.blocks.messages import Message, Superstep
from crowdfm_core.blocks.program import State
from udfs.batch_tables import OUTPUT_ROWS, TaskNames
from udfs.blocks import CutComponent, FrozenModel, Nodes, read_block, table_of_block, table_of_shard
from udfs.groups import gathered_groups
from udfs.peers import Peers

__all__ = ["Parts", "score_together"]

_Sent = tuple[int, Message]  # with the node that it is for


def score_together(
    nodes: Nodes, model: FrozenModel, steps: Sequence[Superstep], key: bytes, *, max_bytes: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow in a barrier stage: rows of INPUT_COLUMNS in, rows of
    SCORE_SCHEMA out.

    Every batch_index is a block's node; a block has all annotations of its tasks, in any order, and
    is in the partition that its node's number is modulo the number of partitions. key: a secret of
    the run, for `Peers`; max_bytes: of one block while it is worked on.
    """

    def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with Peers(BarrierTaskContext.get(), key) as peers:
            parts = Parts(nodes, model, peers)
            parts.start(batches, max_bytes=max_bytes)
            for number, step in enumerate(steps, start=1):
                parts.advance(step, number)
        for table in parts.finish():
            yield from table.to_batches(max_chunksize=OUTPUT_ROWS)

    return score


class Parts:
    """What one task holds: the names and states of its parts, and what they were sent since they
    last read it."""

    def __init__(self, nodes: Nodes, model: FrozenModel, peers: Peers) -> None:
        self._nodes = nodes
        self._model = model
        self._peers = peers
        self._names: dict[int, TaskNames] = {}
        self._states: dict[int, State] = {}
        self._inbox: dict[int, list[Message]] = {}

    def start(self, batches: Iterable[pa.RecordBatch], *, max_bytes: int) -> None:
        """Read this task's blocks and start them, which is superstep 0."""
        program = self._model.program()
        rows = gathered_groups(batches, "batch_index")
        arrived = []
        for node in sorted(rows):
            block = read_block(pa.Table.from_batches(rows.pop(node)))
            if block is None:
                continue  # without tasks
            pa.default_memory_pool().release_unused()  # arrays of NumPy have memory of their own
            component, part = self._nodes[node]
            self._names[node] = block.names
            self._states[node], messages = program.start(
                part, component.cut, block.batch, block.worker_ids, max_bytes=max_bytes
            )
            arrived += self._send(0, component, messages)
        self._receive(0, arrived)

    def advance(self, step: Superstep, number: int) -> None:
        """Run a superstep on those that take part in it, and exchange what they send."""
        program = self._model.program()
        arrived = []
        for node in self._nodes.shards if step.of_shards else self._nodes.blocks:
            if self._member_of(node) != self._peers.number:
                continue
            component, part = self._nodes[node]
            state, inbox = self._states.pop(node, None), self._inbox.pop(node, [])
            if state is None and not part.is_shard:
                continue  # a block without tasks, which others still write to
            self._states[node], messages = program.run(step, part, component.cut, state, inbox)
            arrived += self._send(number, component, messages)
        self._receive(number, arrived)

    def finish(self) -> Iterator[pa.Table]:
        """Yield the scores of all parts, and let go of each; rows of SCORE_SCHEMA."""
        program = self._model.program()
        for node in sorted(self._states):
            component, part = self._nodes[node]
            state, inbox = self._states.pop(node), self._inbox.pop(node, [])
            if part.is_shard:
                yield table_of_shard(component, *program.finish_shard(state, inbox))
            else:
                yield table_of_block(self._names.pop(node), program.finish_block(state, inbox))

    def _send(
        self, superstep: int, component: CutComponent, messages: Sequence[Message]
    ) -> list[_Sent]:
        """Send messages to the tasks that hold their receivers; return those that are held here."""
        stay = []
        for message in messages:
            to = component.node_of(message.to)
            member = self._member_of(to)
            if member == self._peers.number:
                stay.append((to, message))
            else:
                self._peers.send(member, superstep, to, message)
        return stay

    def _receive(self, superstep: int, arrived: Sequence[_Sent]) -> None:
        """Take what came from here and from others: not before a superstep is over, as parts of one
        side write to each other, too."""
        for to, message in [*arrived, *self._peers.finish(superstep)]:
            if to in self._states or to in self._nodes.shards:  # not for a block without tasks
                self._inbox.setdefault(to, []).append(message)

    def _member_of(self, node: int) -> int:
        """The task that holds a part."""
        return node % self._peers.count
