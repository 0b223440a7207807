"""Runs all supersteps of large components in one barrier stage, whose tasks hold all parts.

What `run_superstep` does one part and one superstep at a time, with the same results: parts stay in
the memory of the task that they belong to, and what they send goes straight to the receiver's.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark import BarrierTaskContext

from crowdfm_core.blocks.messages import Message, Superstep
from crowdfm_core.blocks.program import State
from udfs.block_transport import Parcel, pack, unpack
from udfs.peers import Peers
from udfs.score_blocks import (
    Finished,
    FrozenModel,
    Nodes,
    OnPartition,
    Pieces,
    Sent,
    finish,
    read_mail,
)

__all__ = ["Parts", "member_of", "run_together"]


def member_of(node: int, members: int) -> int:
    """The task of the stage, of so many, that a node belongs to."""
    return node % members


def run_together(
    nodes: Nodes, model: FrozenModel, steps: Sequence[Superstep], key: bytes
) -> OnPartition:
    """Run all supersteps on the nodes of every partition, which are sent what `start_blocks` sends.

    For a barrier stage with a partition per member; key: a secret of the run, for `Peers`. Nodes
    are sent what they end with, as their states are many times larger.
    """

    def run(partition: int, sent: Sent) -> Pieces:
        parts = Parts(nodes, model, sent)
        with Peers(BarrierTaskContext.get(), key) as peers:
            for number, step in enumerate(steps, start=1):
                parts.advance(step, number, peers)
        return parts.finish(len(steps))

    return run


class Parts:
    """States of one task's nodes, and what they were sent since they last read it."""

    def __init__(self, nodes: Nodes, model: FrozenModel, sent: Sent) -> None:
        self._nodes = nodes
        self._model = model
        self._states: dict[int, State] = {}
        self._inbox: dict[int, list[Message]] = {}
        for node, contents in unpack(sent).items():
            mail = read_mail(contents)
            self._inbox[node] = mail.inbox
            if mail.state is not None:
                self._states[node] = mail.state

    def advance(self, step: Superstep, number: int, peers: Peers) -> None:
        """Run a superstep on those that take part in it, and exchange what they send."""
        program = self._model.program()
        arrived = []
        for node in self._nodes.shards if step.of_shards else self._nodes.blocks:
            if member_of(node, peers.count) != peers.number:
                continue
            component, part = self._nodes[node]
            state, inbox = self._states.pop(node, None), self._inbox.pop(node, [])
            if state is None and not part.is_shard:
                continue  # a block without tasks, which others still write to
            self._states[node], messages = program.run(step, part, component.cut, state, inbox)
            for message in messages:
                to = component.node_of(message.to)
                peer = member_of(to, peers.count)
                if peer == peers.number:
                    arrived.append((to, message))
                else:
                    peers.send(peer, number, to, message)
        # Not before the superstep is over: those of one side write to each other, too.
        for to, message in [*arrived, *peers.finish(number)]:
            if to in self._states or to in self._nodes.shards:  # not for a block without tasks
                self._inbox.setdefault(to, []).append(message)

    def finish(self, superstep: int) -> Pieces:
        """Finish all nodes and send each what it ends with, node by node."""
        for node in sorted(self._states):
            yield from pack([Parcel(node, self._finished(node))], superstep=superstep, sender=node)

    def _finished(self, node: int) -> Finished:
        _, part = self._nodes[node]
        state, inbox = self._states.pop(node), self._inbox.pop(node, [])
        return finish(self._model, state, inbox, is_shard=part.is_shard)
