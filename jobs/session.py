"""The one place where a SparkSession is made."""

from __future__ import annotations

import logging
import os
import sys

from delta import configure_spark_with_delta_pip
from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession

from crowdfm_core.config import SparkConfig

__all__ = ["make_session", "scoring_profile"]

_log = logging.getLogger(__name__)

_ALWAYS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.python.worker.reuse": "true",  # the frozen model is loaded once per Python worker
}
_LOCAL = {
    # Jars are fetched from the driver's address even in local mode; the machine's own may be
    # unreachable.
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",  # 50 tasks to replay a small log otherwise
    "spark.ui.enabled": "false",
}


def make_session(config: SparkConfig) -> SparkSession:
    """Return the session that `config` asks for; a session of spark-submit is taken over.

    GPU settings are dropped in local mode, where Spark would wait for GPUs for ever.
    """
    settings = dict(_ALWAYS)
    local = config.master is not None and config.master.startswith("local")
    if local:
        settings |= _LOCAL
    settings |= config.conf
    # Spark would start whatever python3 is on PATH; what spark-submit has set stays.
    os.environ.setdefault("PYSPARK_PYTHON", settings.get("spark.pyspark.python", sys.executable))
    if config.gpu is not None:
        if local:
            _log.warning("local mode has no GPU scheduling: spark.gpu is ignored, scoring on CPU")
        else:
            settings["spark.executor.resource.gpu.amount"] = str(config.gpu.amount_per_executor)
            # Small, so that every stage but the scoring one keeps all cores of an executor.
            settings.setdefault("spark.task.resource.gpu.amount", "0.01")
            if config.gpu.discovery_script is not None:
                settings["spark.executor.resource.gpu.discoveryScript"] = (
                    config.gpu.discovery_script
                )
    builder = SparkSession.builder.appName(config.app_name)
    if config.master is not None:
        builder = builder.master(config.master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    if "spark.jars" not in settings and "spark.jars.packages" not in settings:
        builder = configure_spark_with_delta_pip(builder)
    return builder.getOrCreate()


def scoring_profile(config: SparkConfig) -> ResourceProfile | None:
    """Return the task-only profile of the scoring stage, or None where no GPU is scheduled."""
    local = config.master is not None and config.master.startswith("local")
    if config.gpu is None or local:
        return None
    requests = TaskResourceRequests()
    requests = requests.cpus(config.gpu.cpus_per_task)
    requests = requests.resource("gpu", config.gpu.amount_per_task)
    profile: ResourceProfile = ResourceProfileBuilder().require(requests).build
    return profile
