"""Frames that are computed once and forget the plan they came from."""

from __future__ import annotations

from pyspark.sql import DataFrame

__all__ = ["cut_lineage"]


def cut_lineage(frame: DataFrame, *, keep_layout: bool = False) -> DataFrame:
    """Compute a frame now, once, and forget how it was made.

    Plans that contain those before them would take longer to make than to run. Where a checkpoint
    folder is set (spark.checkpoint.dir, or by jobs/checkpoints.py) it outlives executors; without
    one, a lost executor fails the run. keep_layout: Spark is to know by which key the frame's
    partitions are made, as it does of plans that are not adapted while they run.
    """
    spark = frame.sparkSession
    # What Spark infers about a frame goes into the copy under names that the copy may lack, and
    # queries over it then fail.
    settings = {"spark.sql.constraintPropagation.enabled": "false"}
    if keep_layout:
        settings["spark.sql.adaptive.enabled"] = "false"
    before = {key: str(spark.conf.get(key)) for key in settings}
    for key, value in settings.items():
        spark.conf.set(key, value)
    try:
        if spark.sparkContext.getCheckpointDir() is not None:
            return frame.checkpoint()
        return frame.localCheckpoint()
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)
