"""Packs components into batches of about equal numbers of annotations."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from udfs.pieces import piece_of

__all__ = ["assign_batches", "place_largest_first"]


# Smaller batches cost more to start than to score.
_SMALLEST_BUDGET = 50_000
# Components above this share of a batch are placed one by one; there are at most ten per batch.
_LARGE = 0.1


def assign_batches(
    components: DataFrame,
    *,
    max_annotations: int,
    slots: int = 1,
    key: tuple[str, ...] = ("project_id", "component_id"),
) -> DataFrame:
    """Give every component a batch; grain: `key`, which may be project_id alone for whole projects.

    Columns: `key`, batch_index (int >= 0; indices may have gaps). There are as many batches as
    hold `max_annotations` each, or more where the lake is too small to give each of `slots` (tasks
    that run at once) two of them. Large components are placed largest first, each into the batch
    that holds least; the small ones stand in one long row, which is cut so that it fills the
    batches up evenly. So no batch exceeds the mean by more than a tenth, but for large components
    that do not fit together.

    What comes to the driver is the large components, ten per batch at most, and one number per
    partition; no window runs over all components.
    """
    sizes = components.select(*key, "num_annotations")
    total = _total(sizes)
    budget = min(max_annotations, max(_SMALLEST_BUDGET, total // (2 * slots)))
    number = max(1, -(-total // budget))
    is_large = F.col("num_annotations") > F.lit(_LARGE * total / number)
    large = sorted(sizes.where(is_large).collect(), key=lambda row: (-row[-1], *row[:-1]))
    place, loads = place_largest_first([int(row[-1]) for row in large], number)
    placed = [(*row[:-1], index) for row, index in zip(large, place, strict=True)]
    schema = ", ".join([*(f"{name} string" for name in key), "batch_index int"])
    of_large = components.sparkSession.createDataFrame(placed, schema)
    small = _running_sums(sizes.where(~is_large), key)
    ends = np.cumsum(np.maximum(total / number - np.asarray(loads, float), 0.0))
    # The room for small components exceeds them where large ones are above the mean.
    ends *= (total - sum(loads)) / max(ends[-1], 1.0)
    return small.select(*key, piece_of(ends)("begin").alias("batch_index")).union(of_large)


def place_largest_first(sizes: Sequence[int], number: int) -> tuple[list[int], list[int]]:
    """Place sizes, largest first, each into the one of `number` batches that holds least.

    Returns each size's batch in 0..number-1 and what each batch holds; equal ones are taken in
    order. (Graham's rule: the fullest batch exceeds the best possible by a third at most.)
    """
    heap = [(0, index) for index in range(number)]
    place = []
    for size in sizes:
        load, index = heap[0]
        heapq.heapreplace(heap, (load + size, index))
        place.append(index)
    loads = [load for load, _ in sorted(heap, key=lambda entry: entry[1])]
    return place, loads


def _total(sizes: DataFrame) -> int:
    row = sizes.agg(F.coalesce(F.sum("num_annotations"), F.lit(0)).alias("total")).first()
    assert row is not None  # a global aggregation has one row
    return int(row["total"])


def _running_sums(sizes: DataFrame, key: tuple[str, ...]) -> DataFrame:
    """Add begin, the annotations of all components before in the order of the key.

    The sums are kept per partition and moved by the totals of the partitions before.
    """
    ranged = (
        sizes.repartitionByRange(*key)
        .withColumn("part", F.spark_partition_id())
        .persist()  # range partitioning samples its input: it must not run twice
    )
    totals = ranged.groupBy("part").agg(F.sum("num_annotations").alias("total")).collect()
    by_part = sorted((int(row["part"]), int(row["total"])) for row in totals)
    begins = accumulate((total for _, total in by_part), initial=0)
    offsets = [(part, begin) for (part, _), begin in zip(by_part, begins, strict=False)]
    offset = sizes.sparkSession.createDataFrame(offsets, "part int, offset bigint")
    before = Window.partitionBy("part").orderBy(*key).rowsBetween(Window.unboundedPreceding, -1)
    begin = F.col("offset") + F.coalesce(F.sum("num_annotations").over(before), F.lit(0))
    return ranged.join(F.broadcast(offset), "part").select(*key, begin.alias("begin"))
