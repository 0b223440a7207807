"""Where frames that forget their plans are kept while a run lasts (jobs/steps/lineage.py)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from jobs.spark_errors import SPARK_ERRORS, reason_of
from jobs.steps.lineage import executors_last

__all__ = ["checkpoint_folder", "checkpoints_in"]

_log = logging.getLogger(__name__)

_FOLDER = "_checkpoints"


def checkpoint_folder(
    master: str, output: str | None, run_id: str, *, present: str | None
) -> str | None:
    """Return the folder that a run makes for its checkpoints, or None where it needs none.

    In local mode executors are not lost, and a folder that is `present` already, of
    spark.checkpoint.dir, serves; a present one of an earlier run of the same session does not.
    Where tables are in a catalog (output None) there is no place of which all executors are known
    to reach it: frames stay on the executors, and a lost one fails the run.
    """
    is_given = present is not None and f"/{_FOLDER}/" not in present
    if executors_last(master) or is_given or output is None:
        return None
    return f"{output}/{_FOLDER}/{run_id}"


@contextmanager
def checkpoints_in(spark: SparkSession, folder: str | None) -> Iterator[None]:
    """Have checkpoints written to a folder, which is removed in the end; None: change nothing."""
    if folder is None:
        yield
        return
    spark.sparkContext.setCheckpointDir(folder)
    try:
        yield
    finally:
        _remove(spark, folder)


def _remove(spark: SparkSession, folder: str) -> None:
    """Remove the folder, and the one around it if no other run has any there."""
    context = spark.sparkContext
    assert context._jvm is not None
    path = context._jvm.org.apache.hadoop.fs.Path(folder)
    try:
        files = path.getFileSystem(context._jsc.hadoopConfiguration())
        files.delete(path, True)
        if not files.listStatus(path.getParent()):
            files.delete(path.getParent(), False)
    except SPARK_ERRORS as error:  # what the run has written is sound
        _log.warning("checkpoints are left in %s: %s", folder, reason_of(error))
