"""What Spark's shuffles have left on disk."""

from __future__ import annotations

from pyspark.sql import SparkSession

__all__ = ["shuffle_files", "shuffles_in"]


def shuffle_files(spark: SparkSession) -> set[str]:
    """Names of the files of shuffles on the one executor of local mode."""
    assert spark.sparkContext._jvm is not None
    env = spark.sparkContext._jvm.org.apache.spark.SparkEnv.get()
    files = env.blockManager().diskBlockManager().getAllFiles()
    names = (files.apply(index).getName() for index in range(files.size()))
    return {name for name in names if name.startswith("shuffle_")}


def shuffles_in(files: set[str]) -> set[str]:
    """Ids of the shuffles that files belong to, which are named shuffle_ID_MAP_0.data and so on."""
    return {name.split("_")[1] for name in files}
