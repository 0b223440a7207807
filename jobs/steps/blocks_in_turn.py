"""Components in parts, superstep by superstep: a stage for each, and Spark carries what is sent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

from pyspark import RDD, StorageLevel
from pyspark.sql import DataFrame

from crowdfm_core.blocks.messages import Superstep
from crowdfm_core.blocks.program import what_is_read
from jobs.steps.lineage import executors_last
from jobs.steps.progress import Say
from jobs.steps.shuffles import compute_shuffle, only_partitions, remove_shuffle
from udfs.batch_tables import SCORE_SCHEMA
from udfs.block_transport import PIECE_SCHEMA, Piece, node_and_piece, partition_of
from udfs.blocks import FrozenModel, Nodes
from udfs.blocks_in_turn import (
    finish_blocks,
    finish_shards,
    read_blocks,
    run_superstep,
    score_rows,
    start_blocks,
)

__all__ = ["run_in_turn"]

_Pieces: TypeAlias = "RDD[tuple[int, Piece]]"  # each with the node that it is for


def run_in_turn(
    arranged: DataFrame,
    nodes: Nodes,
    model: FrozenModel,
    steps: Sequence[Superstep],
    *,
    max_bytes: int,
    say: Say,
) -> DataFrame:
    """Score components, of which all supersteps run now, and have the scores kept on disk.

    arranged: from arrange_batches, every batch a block's node. Grain and columns: as of
    score_annotations. A part is one partition. Blocks and shards take turns; these are RDDs, as a
    superstep then runs the partitions of one side, and what the other side has to read stays where
    it is. For lost executors all that was sent stays on disk, where they can be lost.
    """
    session, partitions = arranged.sparkSession, nodes.shards.stop + 1
    rows = arranged.mapInArrow(read_blocks, PIECE_SCHEMA).rdd
    read = _delivered(rows.map(node_and_piece), partitions)
    begun = only_partitions(read, nodes.blocks).mapPartitionsWithIndex(
        start_blocks(nodes, model, max_bytes=max_bytes)
    )
    sent = {0: _delivered(begun, partitions)}  # by superstep, while any part is to read it
    of_step, in_the_end = what_is_read(steps)
    for number, (step, since) in enumerate(zip(steps, of_step, strict=True), start=1):
        say(f"superstep {number} of {len(steps)}")
        mail = _inbox([sent[n] for n in since], nodes.shards if step.of_shards else nodes.blocks)
        mail.setName(f"blocks, superstep {number}")
        run = run_superstep(nodes, model, step, number)
        sent[number] = _delivered(mail.mapPartitionsWithIndex(run), partitions)
        compute_shuffle(sent[number])
        oldest = min(later.start for later in [*of_step[number:], *in_the_end.values()])
        for was_read in [n for n in sent if n < oldest]:
            _let_go(sent.pop(was_read))
    of_blocks = _inbox([read, *(sent[n] for n in in_the_end[False])], nodes.blocks)
    of_shards = _inbox([sent[n] for n in in_the_end[True]], nodes.shards)
    of_tasks, of_workers = (
        session.createDataFrame(streams, "stream binary", verifySchema=False)
        for streams in (
            of_blocks.mapPartitions(finish_blocks(model)),
            of_shards.mapPartitionsWithIndex(finish_shards(nodes, model)),
        )
    )
    scores = of_tasks.union(of_workers).mapInArrow(score_rows, SCORE_SCHEMA)
    return scores.persist(StorageLevel.DISK_ONLY)


def _delivered(pieces: _Pieces, partitions: int) -> _Pieces:
    """Bring pieces to their nodes, each a partition. The last one is nobody's: compute_shuffle
    reads it."""
    return pieces.partitionBy(partitions, partition_of)


def _inbox(delivered: Sequence[_Pieces], nodes: range) -> _Pieces:
    """What nodes were sent at several times; as all are delivered, nothing moves."""
    together = reduce(RDD.union, delivered)
    assert together.getNumPartitions() == delivered[0].getNumPartitions()
    return only_partitions(together, nodes)


def _let_go(was_read: _Pieces) -> None:
    """Free the disk of what nobody reads again, where no executor can be lost."""
    if executors_last(was_read.context.master or ""):
        remove_shuffle(was_read)
