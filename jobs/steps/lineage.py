"""Frames that are computed once and forget the plan they came from."""

from __future__ import annotations

import re

from pyspark.sql import DataFrame

from jobs.spark_settings import settings_of

__all__ = ["cut_lineage", "executors_last"]


def cut_lineage(frame: DataFrame, *, keep_layout: bool = False) -> DataFrame:
    """Compute a frame now, once, and forget how it was made.

    Plans that contain those before them would take longer to make than to run. Where a checkpoint
    folder is set (spark.checkpoint.dir, or by jobs/checkpoints.py) it outlives executors; without
    one, a lost executor fails the run. keep_layout: Spark is to know by which key the frame's
    partitions are made, as it does of plans that are not adapted while they run.
    """
    # What Spark infers about a frame goes into the copy under names that the copy may lack, and
    # queries over it then fail.
    settings = {"spark.sql.constraintPropagation.enabled": "false"}
    if keep_layout:
        settings["spark.sql.adaptive.enabled"] = "false"
    with settings_of(frame.sparkSession, settings):
        if frame.sparkSession.sparkContext.getCheckpointDir() is not None:
            return frame.checkpoint()
        return frame.localCheckpoint()


def executors_last(master: str) -> bool:
    """Whether no executor can be lost while the session lasts: in local mode."""
    return re.fullmatch(r"local(\[.*\])?", master) is not None
