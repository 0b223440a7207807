"""The one place where a SparkSession is made."""

from __future__ import annotations

import logging
import os
import sys

from delta import configure_spark_with_delta_pip
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession

from crowdfm_core.config import SparkConfig
from crowdfm_core.errors import ConfigError

__all__ = ["make_session", "scoring_profile"]

_log = logging.getLogger(__name__)

_SUBMITTED = "PYSPARK_GATEWAY_PORT"  # in the environment of what spark-submit starts

_ALWAYS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.log.level": "WARN",  # spark-submit would drown the run's own lines
    # Joins whose parts are small keep one side in memory, instead of sorting both by text.
    "spark.sql.adaptive.maxShuffledHashJoinLocalMapThreshold": "64m",
    # Lists per task are made without sorting by text first, as Spark does from 128 tasks on.
    "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "100000",
    # Rows that are sorted by a key are summed per key as they come, without a table of all keys.
    "spark.sql.execution.replaceHashWithSortAgg": "true",
    # PySpark compresses what is persisted as bytes (spark.rdd.compress). To choose a code for each
    # column before that saves a fifth of the disk, and takes twice as long as the rest of it.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    # A night has hundreds of queries, and those of Delta come again for every table: with room for
    # a hundred compiled ones they are compiled again.
    "spark.sql.codegen.cache.maxEntries": "1000",
    "spark.python.worker.reuse": "true",  # the frozen model is loaded once per Python worker
    # Ids in names of folders (project=007) are text.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}
_LOCAL = {
    # Jars are fetched from the driver's address even in local mode; the machine's own may be
    # unreachable.
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",  # 50 tasks to replay a small log otherwise
    "spark.ui.enabled": "false",
    # Java compiles for the second time what has run ten times as often as by itself: loops over
    # rows soon have, while what plans the queries costs more to compile than it still runs.
    "spark.driver.defaultJavaOptions": (  # before those of spark.driver.extraJavaOptions
        "-XX:+IgnoreUnrecognizedVMOptions "
        "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
        "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
    ),
}


def make_session(config: SparkConfig) -> SparkSession:
    """Return the session that `config` asks for; a session of spark-submit is taken over.

    GPU settings are dropped in local mode, where Spark would wait for GPUs for ever. Raises
    ConfigError where Java does not start.
    """
    settings = dict(_ALWAYS)
    settings["spark.ui.showConsoleProgress"] = str(sys.stderr.isatty()).lower()
    if config.master is not None and config.master.startswith("local"):
        settings |= _LOCAL
    settings |= config.conf
    # Spark would start whatever python3 is on PATH; what spark-submit has set stays.
    os.environ.setdefault("PYSPARK_PYTHON", settings.get("spark.pyspark.python", sys.executable))
    if config.gpu is not None and _schedules_gpus(config):
        settings["spark.executor.resource.gpu.amount"] = str(config.gpu.amount_per_executor)
        # Small, so that every stage but the scoring one keeps all cores of an executor.
        settings.setdefault("spark.task.resource.gpu.amount", "0.01")
        if config.gpu.discovery_script is not None:
            settings["spark.executor.resource.gpu.discoveryScript"] = config.gpu.discovery_script
    elif config.gpu is not None:
        _log.warning(
            "local mode has no GPU scheduling (the master is %s): spark.gpu is ignored, scoring on "
            "CPU",
            _known_master(config) or "neither in spark.master nor from spark-submit",
        )
    builder = SparkSession.builder.appName(config.app_name)
    if config.master is not None:
        builder = builder.master(config.master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    if "spark.jars" not in settings and "spark.jars.packages" not in settings:
        builder = configure_spark_with_delta_pip(builder)
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        java = os.environ.get("JAVA_HOME", "none, so it is the java on PATH")
        problem = f"expected Java 17 or newer, got one that does not start; JAVA_HOME is {java}"
        raise ConfigError([problem], where="Spark") from error


def scoring_profile(config: SparkConfig) -> ResourceProfile | None:
    """Return the task-only profile of the scoring stage, or None where no GPU is scheduled."""
    if config.gpu is None or not _schedules_gpus(config):
        return None
    requests = TaskResourceRequests()
    requests = requests.cpus(config.gpu.cpus_per_task)
    requests = requests.resource("gpu", config.gpu.amount_per_task)
    profile: ResourceProfile = ResourceProfileBuilder().require(requests).build
    return profile


def _schedules_gpus(config: SparkConfig) -> bool:
    master = _known_master(config)
    return master is not None and not master.startswith("local")


def _known_master(config: SparkConfig) -> str | None:
    """The master of the configuration, else of spark-submit; without either Spark runs locally."""
    if config.master is not None or _SUBMITTED not in os.environ:
        return config.master
    SparkContext._ensure_initialized()  # connects to the JVM that spark-submit has started
    return SparkConf().get("spark.master")
