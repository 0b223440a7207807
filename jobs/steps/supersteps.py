"""Supersteps of components in parts: in one stage that holds all parts, or in one stage each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import TypeAlias

from pyspark import RDD

from crowdfm_core.blocks.messages import Superstep
from crowdfm_core.blocks.program import what_is_read
from crowdfm_core.errors import CrowdFMError
from jobs.spark_errors import SPARK_ERRORS, reason_of
from jobs.steps.exchange import Exchange
from jobs.steps.lineage import executors_last
from jobs.steps.progress import Say
from jobs.steps.shuffles import compute_shuffle, only_partitions, remove_shuffle
from udfs.block_transport import Piece, partition_of
from udfs.blocks_together import member_of, run_together
from udfs.score_blocks import FrozenModel, Nodes, run_superstep, start_blocks

__all__ = ["Ended", "deliver", "inbox", "run_supersteps"]

_OWN_ERRORS = f"{CrowdFMError.__module__}."  # as tracebacks name them
_Pieces: TypeAlias = "RDD[tuple[int, Piece]]"  # each with the node that it is for


@dataclass(frozen=True)
class Ended:
    """What blocks, and shards, ended with, or read in the end: all delivered."""

    for_blocks: Sequence[_Pieces]
    for_shards: Sequence[_Pieces]


def run_supersteps(
    read: _Pieces,
    model: FrozenModel,
    steps: Sequence[Superstep],
    *,
    exchange: Exchange,
    max_bytes: int,
    say: Say,
) -> Ended:
    """Start the blocks of some components and run all supersteps now; the way that messages take
    leaves no trace in the result.

    read: delivered blocks of these components and others.
    """
    nodes = Nodes(exchange.components)
    start = start_blocks(nodes, model, max_bytes=max_bytes)
    begun = only_partitions(read, nodes.blocks).mapPartitionsWithIndex(start)
    partitions = read.getNumPartitions()
    say(f"{len(nodes.blocks)} blocks of tasks, {len(nodes.shards)} shards of workers")
    if exchange.members is not None:
        try:
            return _together(begun, nodes, partitions, model, steps, exchange.members, say=say)
        except SPARK_ERRORS as error:
            # What the project's own errors say is true of the other way, too.
            if not exchange.falls_back or _OWN_ERRORS in str(error):
                raise
            say(f"from the start, over shuffles, as tasks failed: {reason_of(error)}")
    return _in_turn(begun, nodes, partitions, model, steps, say=say)


def deliver(pieces: _Pieces, partitions: int) -> _Pieces:
    """Bring pieces to their nodes, each a partition. The last one is nobody's: compute_shuffle
    reads it."""
    return pieces.partitionBy(partitions, partition_of)


def inbox(delivered: Sequence[_Pieces], nodes: range) -> _Pieces:
    """What nodes were sent at several times; as all are delivered, nothing moves."""
    together = reduce(RDD.union, delivered)
    assert together.getNumPartitions() == delivered[0].getNumPartitions()
    return only_partitions(together, nodes)


def _together(
    begun: _Pieces,
    nodes: Nodes,
    partitions: int,
    model: FrozenModel,
    steps: Sequence[Superstep],
    members: int,
    *,
    say: Say,
) -> Ended:
    """One barrier stage: where a task of it is lost, all of them start again."""
    say(f"all {len(steps)} supersteps in {members} tasks")
    held = begun.partitionBy(members, partial(member_of, members=members))
    run = run_together(nodes, model, steps, secrets.token_bytes(32))
    sent = deliver(held.barrier().mapPartitionsWithIndex(run), partitions)
    compute_shuffle(sent)
    _let_go(held)
    return Ended([sent], [sent])


def _in_turn(
    begun: _Pieces,
    nodes: Nodes,
    partitions: int,
    model: FrozenModel,
    steps: Sequence[Superstep],
    *,
    say: Say,
) -> Ended:
    """A stage per superstep.

    Blocks and shards take turns; these are RDDs, as a superstep then runs the partitions of one
    side, and what the other side has to read stays where it is. For lost executors all that was
    sent stays on disk, where they can be lost.
    """
    sent = {0: deliver(begun, partitions)}  # by superstep, while any part is to read it
    of_step, in_the_end = what_is_read(steps)
    for number, (step, since) in enumerate(zip(steps, of_step, strict=True), start=1):
        say(f"superstep {number} of {len(steps)}")
        mail = inbox([sent[n] for n in since], nodes.shards if step.of_shards else nodes.blocks)
        mail.setName(f"blocks, superstep {number}")
        run = run_superstep(nodes, model, step, number)
        sent[number] = deliver(mail.mapPartitionsWithIndex(run), partitions)
        compute_shuffle(sent[number])
        oldest = min(later.start for later in [*of_step[number:], *in_the_end.values()])
        for was_read in [n for n in sent if n < oldest]:
            _let_go(sent.pop(was_read))
    for_blocks, for_shards = ([sent[n] for n in in_the_end[side]] for side in (False, True))
    return Ended(for_blocks, for_shards)


def _let_go(was_read: _Pieces) -> None:
    """Free the disk of what nobody reads again, where no executor can be lost."""
    if executors_last(was_read.context.master or ""):
        remove_shuffle(was_read)
