"""Components in parts, all of which the tasks of one barrier stage hold in memory."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.blocks.messages import Superstep
from udfs.batch_tables import SCORE_SCHEMA
from udfs.blocks import FrozenModel, Nodes
from udfs.blocks_together import score_together

__all__ = ["run_together"]


def run_together(
    rows: DataFrame,
    nodes: Nodes,
    model: FrozenModel,
    steps: Sequence[Superstep],
    members: int,
    *,
    max_bytes: int,
) -> DataFrame:
    """Score components in a stage of so many tasks, now, and keep the scores on disk.

    rows: from batch_rows, every batch a block's node. Grain and columns: as of score_annotations.
    Where a task of the stage is lost, all of them start again.
    """
    member = F.pmod("batch_index", F.lit(members))
    score = score_together(nodes, model, steps, secrets.token_bytes(32), max_bytes=max_bytes)
    scored = rows.repartitionById(members, member).mapInArrow(score, SCORE_SCHEMA, barrier=True)
    # Shuffled, as scores that are lost could not be made again by some of the stage's tasks.
    scores = scored.repartition("project_id", "task_id", "worker_id")
    scores = scores.persist(StorageLevel.DISK_ONLY)
    try:
        scores.count()
    except BaseException:
        scores.unpersist()
        raise
    return scores
