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
from crowdfm_core.memory import bytes_of_sizes
from crowdfm_core.models import ModelConfig
from jobs.steps.lineage import executors_last, hand_over, let_go
from jobs.steps.scoring import arrange_batches
from udfs.batch_tables import SCORE_SCHEMA
from udfs.block_transport import PART_SCHEMA
from udfs.score_blocks import (
    CutComponent,
    FrozenModel,
    Nodes,
    finish_parts,
    run_superstep,
    start_blocks,
)

__all__ = ["BlockPlan", "plan_blocks", "score_in_blocks"]

_HANDED_OVER = 4  # supersteps of whose states the disk has room; two layers


@dataclass(frozen=True)
class BlockPlan:
    """The components that are cut, few of them; keys has grain and columns project_id,
    component_id."""

    components: tuple[CutComponent, ...]
    keys: DataFrame


def plan_blocks(
    components: DataFrame, options: DataFrame, model: ModelConfig, scoring: ScoringConfig
) -> BlockPlan | None:
    """Return how to cut the components that need it, or None where none does.

    components: their sizes; options: from index_options. Only components that might need it come
    to the driver.
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
        cut = plan_cut(
            model, sizes, max_annotations=scoring.max_annotations_per_block, max_bytes=max_bytes
        )
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
) -> DataFrame:
    """Return scores as `jobs.steps.scoring.score_annotations` does; same grain and columns.

    annotations: with component_id, of any components; those of the plan are scored. steps: of the
    model's architecture. A part is one partition; every superstep is one stage, so that Spark
    repeats what a lost executor held, with the same result. For that the states of all supersteps
    stay on the executors' disks; where executors last, they are removed on the way, and all but the
    last supersteps run now. Runs on the CPU.
    """
    nodes = Nodes(plan.components)
    arranged = arrange_batches(_with_block(annotations, plan), options, _batches(plan))
    parts = arranged.mapInArrow(start_blocks(nodes, model, max_bytes=max_bytes), PART_SCHEMA)
    kept: DataFrame | None = None
    is_local = executors_last(annotations.sparkSession.sparkContext.master or "")
    for number, step in enumerate(steps, start=1):
        sent = parts.repartitionById(len(nodes), "node")
        parts = sent.mapInArrow(run_superstep(nodes, model, step, number), PART_SCHEMA)
        if is_local and number % _HANDED_OVER == 0:
            parts = hand_over(parts)
            if kept is not None:
                let_go(kept)
            kept = parts
    last = parts.repartitionById(len(nodes), "node")
    return last.mapInArrow(finish_parts(nodes, model), SCORE_SCHEMA)


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
