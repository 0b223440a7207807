"""Scores components that are too large for one process: cut into parts, superstep by superstep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.blocks.messages import Superstep
from crowdfm_core.blocks.plan import plan_cut
from crowdfm_core.candidates import MAX_DENSE_OPTIONS, ComponentSizes
from crowdfm_core.config import ScoringConfig
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.memory import bytes_of_sizes
from crowdfm_core.models import ModelConfig
from jobs.steps.exchange import Exchange
from jobs.steps.progress import Say
from jobs.steps.scoring import arrange_batches
from jobs.steps.supersteps import deliver, inbox, run_supersteps
from udfs.batch_tables import SCORE_SCHEMA
from udfs.block_transport import PIECE_SCHEMA, node_and_piece
from udfs.score_blocks import (
    CutComponent,
    FrozenModel,
    Nodes,
    finish_blocks,
    finish_shards,
    read_blocks,
    score_rows,
)

__all__ = ["BlockPlan", "plan_blocks", "score_in_blocks"]


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
    exchanges: Sequence[Exchange],
    max_bytes: int,
    say: Say,
) -> DataFrame:
    """Return scores as `jobs.steps.scoring.score_annotations` does; same grain and columns.

    annotations: with component_id, of any components; those of the plan are scored, in the order of
    exchanges. steps: of the model's architecture; say: takes a line for each. All supersteps run
    now, on the CPU. A part is one partition. Spark repeats what a lost executor held, with the same
    result.
    """
    nodes = Nodes(plan.components)
    session = annotations.sparkSession
    arranged = arrange_batches(_with_block(annotations, plan), options, _batches(plan))
    rows = arranged.mapInArrow(read_blocks, PIECE_SCHEMA).rdd
    read = deliver(rows.map(node_and_piece), nodes.shards.stop + 1)
    ended = [
        run_supersteps(read, model, steps, exchange=exchange, max_bytes=max_bytes, say=say)
        for exchange in exchanges
    ]
    of_blocks = inbox([read, *(sent for of in ended for sent in of.for_blocks)], nodes.blocks)
    of_shards = inbox([sent for of in ended for sent in of.for_shards], nodes.shards)
    of_tasks, of_workers = (
        session.createDataFrame(streams, "stream binary", verifySchema=False)
        for streams in (
            of_blocks.mapPartitions(finish_blocks(model)),
            of_shards.mapPartitionsWithIndex(finish_shards(nodes, model)),
        )
    )
    return of_tasks.union(of_workers).mapInArrow(score_rows, SCORE_SCHEMA)


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
