"""What frames leave on the disks of executors."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.steps.lineage import hand_over, let_go


def test_a_frame_that_is_handed_over_leaves_its_rows_alone(spark: SparkSession) -> None:
    before = files_of(spark)
    frame = spark.range(100).repartition(3, "id").withColumn("twice", 2 * F.col("id"))
    kept = hand_over(frame)
    left = files_of(spark) - before
    assert {name.split("_")[0] for name in left} == {"rdd"}  # no shuffle
    assert sorted(row["twice"] for row in kept.collect()) == list(range(0, 200, 2))
    assert spark.conf.get("spark.sql.classic.shuffleDependency.fileCleanup.enabled") == "false"
    let_go(kept)
    assert not files_of(spark) - before


def files_of(spark: SparkSession) -> set[str]:
    """Files with rows, of any kind, on the one executor of local mode."""
    assert spark.sparkContext._jvm is not None
    env = spark.sparkContext._jvm.org.apache.spark.SparkEnv.get()
    files = env.blockManager().diskBlockManager().getAllFiles()
    names = (files.apply(index).getName() for index in range(files.size()))
    return {name for name in names if name.startswith(("rdd_", "shuffle_"))}
