"""What PySpark has no words for: some partitions of an RDD, and shuffles that are not needed."""

from __future__ import annotations

from typing import Any, TypeVar

from pyspark import RDD

__all__ = ["compute_shuffle", "only_partitions", "remove_shuffle", "shuffle_id"]

T = TypeVar("T")


def only_partitions(rdd: RDD[T], partitions: range) -> RDD[T]:
    """Return a range of an RDD's partitions, numbered from 0; no task is started for the others.

    To skip them in Python would not do: a task that ends before it has read its input takes its
    Python worker with it.
    """
    jvm = rdd.context._jvm
    assert jvm is not None
    # A set is a function from its elements to true, which Spark asks of every partition.
    chosen = jvm.scala.runtime.RichInt(partitions.start).until(partitions.stop).toSet()
    pruned = jvm.org.apache.spark.rdd.PartitionPruningRDD.create(rdd._jrdd.rdd(), chosen)
    return RDD(pruned.toJavaRDD(), rdd.context, rdd._jrdd_deserializer)


def compute_shuffle(shuffled: RDD[Any]) -> None:
    """Write what RDD.partitionBy shuffles now. To that end the last partition is read, by Java."""
    number = shuffled.getNumPartitions()
    only_partitions(shuffled, range(number - 1, number))._jrdd.count()


def remove_shuffle(shuffled: RDD[Any]) -> None:
    """Remove from the executors' disks what RDD.partitionBy wrote; who reads it makes it again.

    Spark removes it when nothing refers to it any more, but all that was made from it does.
    """
    cleaner = shuffled.context._jsc.sc().cleaner()
    if cleaner.isDefined():  # not with spark.cleaner.referenceTracking=false
        cleaner.get().doCleanupShuffle(shuffle_id(shuffled), True)


def shuffle_id(shuffled: RDD[Any]) -> int:
    """What Spark calls the shuffle of RDD.partitionBy, which makes one and takes its values."""
    return int(shuffled._jrdd.rdd().dependencies().head().rdd().dependencies().head().shuffleId())
