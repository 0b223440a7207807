"""Scores components too large for one process, in blocks of tasks and shards of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crowdfm_core.blocks.messages import Superstep
from crowdfm_core.blocks.plan import plan_cut
from crowdfm_core.candidates import MAX_DENSE_OPTIONS, ComponentSizes
from crowdfm_core.config import ScoringConfig
from crowdfm_core.errors import CrowdFMError, MemoryBudgetError
from crowdfm_core.memory import bytes_of_sizes
from crowdfm_core.models import ModelConfig
from jobs.spark_errors import SPARK_ERRORS, reason_of
from jobs.steps.blocks_in_turn import run_in_turn
from jobs.steps.blocks_together import run_together
from jobs.steps.exchange import Exchange
from jobs.steps.progress import Say
from jobs.steps.scoring import arrange_batches, batch_rows
from udfs.blocks import CutComponent, FrozenModel, Nodes

__all__ = ["BlockPlan", "plan_blocks", "score_in_blocks"]

_OWN_ERRORS = f"{CrowdFMError.__module__}."  # as tracebacks name them


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
    model: FrozenModel,
    *,
    steps: Sequence[Superstep],
    exchanges: Sequence[Exchange],
    max_bytes: int,
    say: Say,
) -> list[DataFrame]:
    """Return scores as `jobs.steps.scoring.score_annotations` does, of the components of each
    exchange; same grain and columns, kept on disk for the caller to unpersist.

    annotations: with component_id, of any components. steps: of the model's architecture; say:
    takes a line for each. All supersteps run now, on the CPU. The way that messages take leaves no
    trace in the result, nor do lost executors, whose part Spark repeats.
    """
    return [
        _scored(annotations, options, model, steps, exchange, max_bytes=max_bytes, say=say)
        for exchange in exchanges
    ]


def _scored(
    annotations: DataFrame,
    options: DataFrame,
    model: FrozenModel,
    steps: Sequence[Superstep],
    exchange: Exchange,
    *,
    max_bytes: int,
    say: Say,
) -> DataFrame:
    nodes = Nodes(exchange.components)
    placed = _with_block(annotations, exchange.components)
    blocks = _batches(annotations.sparkSession, exchange.components)
    say(f"{len(nodes.blocks)} blocks of tasks, {len(nodes.shards)} shards of workers")
    if exchange.members is not None:
        say(f"all {len(steps)} supersteps in {exchange.members} tasks")
        rows = batch_rows(placed, options, blocks)
        try:
            return run_together(rows, nodes, model, steps, exchange.members, max_bytes=max_bytes)
        except SPARK_ERRORS as error:
            # What the project's own errors say is true of the other way, too.
            if not exchange.falls_back or _OWN_ERRORS in str(error):
                raise
            say(f"from the start, over shuffles, as tasks failed: {reason_of(error)}")
    arranged = arrange_batches(placed, options, blocks)
    return run_in_turn(arranged, nodes, model, steps, max_bytes=max_bytes, say=say)


def _with_block(annotations: DataFrame, components: Sequence[CutComponent]) -> DataFrame:
    """Keep the annotations of these components; add block, which depends on the task alone."""
    counts = [(of.project_id, of.component_id, of.cut.blocks) for of in components]
    blocks = annotations.sparkSession.createDataFrame(
        counts, "project_id string, component_id string, blocks int"
    )
    block = F.pmod(F.xxhash64("task_id"), F.col("blocks")).cast("int")
    placed = annotations.join(F.broadcast(blocks), ["project_id", "component_id"])
    return placed.withColumn("block", block).drop("blocks")


def _batches(session: SparkSession, components: Sequence[CutComponent]) -> DataFrame:
    """One batch per block, numbered as its node."""
    rows = [
        (of.project_id, of.component_id, block, of.first_block + block)
        for of in components
        for block in range(of.cut.blocks)
    ]
    schema = "project_id string, component_id string, block int, batch_index int"
    return session.createDataFrame(rows, schema)
