"""Scores components that are too large for one process: cut into parts, superstep by superstep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import TypeAlias

from pyspark import RDD
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.blocks.messages import Superstep
from crowdfm_core.blocks.plan import plan_cut
from crowdfm_core.blocks.program import what_is_read
from crowdfm_core.candidates import MAX_DENSE_OPTIONS, ComponentSizes
from crowdfm_core.config import ScoringConfig
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.memory import bytes_of_sizes
from crowdfm_core.models import ModelConfig
from jobs.steps.lineage import executors_last
from jobs.steps.progress import Say
from jobs.steps.scoring import arrange_batches
from jobs.steps.shuffles import compute_shuffle, only_partitions, remove_shuffle
from udfs.batch_tables import SCORE_SCHEMA
from udfs.block_transport import PIECE_SCHEMA, Piece, node_and_piece, partition_of
from udfs.score_blocks import (
    CutComponent,
    FrozenModel,
    Nodes,
    finish_blocks,
    finish_shards,
    read_blocks,
    run_superstep,
    score_rows,
    start_blocks,
)

__all__ = ["BlockPlan", "plan_blocks", "score_in_blocks"]

_Pieces: TypeAlias = "RDD[tuple[int, Piece]]"  # each with the node that it is for


@dataclass(frozen=True)
class BlockPlan:
    """The components that are cut, few of them; keys has grain and columns project_id,
    component_id."""

    components: tuple[CutComponent, ...]
    keys: DataFrame


def plan_blocks(
    components: DataFrame,
    options: DataFrame,
    model: ModelConfig,
    scoring: ScoringConfig,
    *,
    assigns: bool = False,
) -> BlockPlan | None:
    """Return how to cut the components that need it, or None where none does.

    components: their sizes; options: from index_options; assigns: whether tasks are assigned. Only
    components that might need it come to the driver. Raises MemoryBudgetError, naming the
    component, where blocks cannot be small enough.
    """
    if scoring.max_annotations_per_block is None:
        return None
    max_bytes = int(scoring.max_model_gib * 2**30)
    # No annotation takes more, whatever the component's shape.
    most = bytes_of_sizes(model, ComponentSizes(1, 1, 1, MAX_DENSE_OPTIONS))
    safe = min(scoring.max_annotations_per_block, max_bytes // most)
    large = components.where(F.col("num_annotations") > safe).drop("num_options")
    counted = options.groupBy("project_id").agg(F.count("*").alias("num_options"))
    rows = large.join(counted, "project_id").orderBy("project_id", "component_id").collect()
    cuts = {}
    for row in rows:
        sizes = ComponentSizes(
            row["num_annotations"], row["num_tasks"], row["num_workers"], row["num_options"]
        )
        try:
            cut = plan_cut(
                model,
                sizes,
                max_annotations=scoring.max_annotations_per_block,
                max_bytes=max_bytes,
                assigns=assigns,
            )
        except MemoryBudgetError as error:
            raise MemoryBudgetError(
                f"project {row['project_id']!r}, component {row['component_id']!r}: {error}"
            ) from error
        if cut is not None:
            cuts[row["project_id"], row["component_id"]] = cut
    if not cuts:
        return None
    blocks = accumulate((cut.blocks for cut in cuts.values()), initial=0)
    all_blocks = sum(cut.blocks for cut in cuts.values())
    shards = accumulate((cut.shards for cut in cuts.values()), initial=all_blocks)
    return BlockPlan(
        tuple(
            CutComponent(*key, cut, first_block=block, first_shard=shard)
            for (key, cut), block, shard in zip(cuts.items(), blocks, shards, strict=False)
        ),
        components.sparkSession.createDataFrame(
            list(cuts), "project_id string, component_id string"
        ),
    )


def score_in_blocks(
    annotations: DataFrame,
    options: DataFrame,
    plan: BlockPlan,
    model: FrozenModel,
    *,
    steps: Sequence[Superstep],
    max_bytes: int,
    say: Say,
) -> DataFrame:
    """Return scores as `jobs.steps.scoring.score_annotations` does; same grain and columns.

    annotations: with component_id, of any components; those of the plan are scored. steps: of the
    model's architecture; say: takes a line for each. All supersteps run now, on the CPU. A part is
    one partition. Blocks and shards take turns; these are RDDs, as a superstep then runs the
    partitions of one side, and what the other side has to read stays where it is. Spark repeats
    what a lost executor held, with the same result; for that all that was sent stays on disk, where
    executors can be lost.
    """
    nodes = Nodes(plan.components)
    session = annotations.sparkSession
    is_local = executors_last(session.sparkContext.master or "")
    arranged = arrange_batches(_with_block(annotations, plan), options, _batches(plan))
    rows = arranged.mapInArrow(read_blocks, PIECE_SCHEMA).rdd
    read = _deliver(rows.map(node_and_piece), nodes)
    start = start_blocks(nodes, model, max_bytes=max_bytes)
    begun = only_partitions(read, nodes.blocks).mapPartitionsWithIndex(start)
    sent = {0: _deliver(begun, nodes)}  # by superstep, while any part is to read it
    of_step, in_the_end = what_is_read(steps)
    say(f"{len(nodes.blocks)} blocks of tasks, {len(nodes.shards)} shards of workers")
    for number, (step, since) in enumerate(zip(steps, of_step, strict=True), start=1):
        say(f"superstep {number} of {len(steps)}")
        mail = _inbox([sent[n] for n in since], nodes, shards=step.of_shards)
        mail.setName(f"blocks, superstep {number}")
        run = run_superstep(nodes, model, step, number)
        sent[number] = _deliver(mail.mapPartitionsWithIndex(run), nodes)
        compute_shuffle(sent[number])
        oldest = min(later.start for later in [*of_step[number:], *in_the_end.values()])
        for was_read in [sent.pop(n) for n in list(sent) if n < oldest]:
            if is_local:
                remove_shuffle(was_read)
    of_blocks = _inbox([read, *(sent[n] for n in in_the_end[False])], nodes, shards=False)
    of_shards = _inbox([sent[n] for n in in_the_end[True]], nodes, shards=True)
    of_tasks, of_workers = (
        session.createDataFrame(streams, "stream binary", verifySchema=False)
        for streams in (
            of_blocks.mapPartitions(finish_blocks(model)),
            of_shards.mapPartitionsWithIndex(finish_shards(nodes, model)),
        )
    )
    return of_tasks.union(of_workers).mapInArrow(score_rows, SCORE_SCHEMA)


def _deliver(pieces: _Pieces, nodes: Nodes) -> _Pieces:
    """Bring pieces to their nodes. There is one partition more, which compute_shuffle reads."""
    return pieces.partitionBy(len(nodes) + 1, partition_of)


def _inbox(delivered: Sequence[_Pieces], nodes: Nodes, *, shards: bool) -> _Pieces:
    """What blocks, or shards, were sent at several times; as all are delivered, nothing moves."""
    together = reduce(RDD.union, delivered)
    assert together.getNumPartitions() == len(nodes) + 1
    return only_partitions(together, nodes.shards if shards else nodes.blocks)


def _with_block(annotations: DataFrame, plan: BlockPlan) -> DataFrame:
    """Keep the annotations of the plan's components; add block, which depends on the task alone."""
    counts = [(of.project_id, of.component_id, of.cut.blocks) for of in plan.components]
    blocks = plan.keys.sparkSession.createDataFrame(
        counts, "project_id string, component_id string, blocks int"
    )
    block = F.pmod(F.xxhash64("task_id"), F.col("blocks")).cast("int")
    placed = annotations.join(F.broadcast(blocks), ["project_id", "component_id"])
    return placed.withColumn("block", block).drop("blocks")


def _batches(plan: BlockPlan) -> DataFrame:
    """One batch per block, numbered as its node."""
    rows = [
        (of.project_id, of.component_id, block, of.first_block + block)
        for of in plan.components
        for block in range(of.cut.blocks)
    ]
    schema = "project_id string, component_id string, block int, batch_index int"
    return plan.keys.sparkSession.createDataFrame(rows, schema)
