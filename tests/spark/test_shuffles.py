"""Partitions that are read alone, and what shuffles leave on the disks of executors."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from pyspark import RDD
from pyspark.sql import SparkSession

from jobs.steps.shuffles import compute_shuffle, only_partitions, remove_shuffle
from tests.spark.disk import shuffle_files, shuffles_in
from udfs.block_transport import partition_of


def test_some_partitions_are_read_and_the_others_not_even_computed(spark: SparkSession) -> None:
    numbers = spark.sparkContext.parallelize(range(40), 4)  # ten in each

    def ten(index: int, some: Iterable[int]) -> Iterable[tuple[int, int]]:
        assert index in (1, 2)
        return [(index, sum(some))]

    found = only_partitions(numbers.mapPartitionsWithIndex(ten), range(1, 3))
    assert found.collect() == [(1, sum(range(10, 20))), (2, sum(range(20, 30)))]
    numbered = found.mapPartitionsWithIndex(lambda index, some: [(index, *next(iter(some)))])
    assert [at for at, *_ in numbered.collect()] == [0, 1]


def test_partitions_of_a_union_of_equal_partitions_stay_together(spark: SparkSession) -> None:
    """As parts of components rely on it."""
    pairs = spark.sparkContext.parallelize([(number % 5, number) for number in range(20)])
    several = [pairs.mapValues(str).partitionBy(5, partition_of) for _ in range(3)]
    together = reduce(RDD.union, several)
    assert together.getNumPartitions() == 5
    some = only_partitions(together, range(2, 4))
    assert [sorted(values) for values in some.values().glom().collect()] == [
        sorted(3 * [str(number) for number in range(at, 20, 5)]) for at in (2, 3)
    ]


def test_a_shuffle_that_was_read_is_removed_and_what_was_made_from_it_stays(
    spark: SparkSession,
) -> None:
    before = shuffle_files(spark)
    numbers = spark.sparkContext.parallelize([(number % 3, number) for number in range(30)])
    first = numbers.partitionBy(3, int)
    second = first.map(lambda pair: (pair[0], 2 * pair[1])).partitionBy(3, int)
    compute_shuffle(second)
    assert len(shuffles_in(shuffle_files(spark) - before)) == 2
    remove_shuffle(first)
    left = shuffle_files(spark) - before
    assert len(shuffles_in(left)) == 1
    assert sorted(second.values().collect()) == list(range(0, 60, 2))
    assert shuffle_files(spark) - before == left  # it was not made anew
    remove_shuffle(second)
    assert not shuffle_files(spark) - before
