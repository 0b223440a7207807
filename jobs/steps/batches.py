"""Packs components into batches of about equal numbers of annotations."""

from __future__ import annotations

from itertools import accumulate

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

__all__ = ["assign_batches"]


# Smaller batches cost more to start than to score.
_SMALLEST_BUDGET = 50_000


def assign_batches(
    components: DataFrame,
    *,
    max_annotations: int,
    slots: int = 1,
    key: tuple[str, ...] = ("project_id", "component_id"),
) -> DataFrame:
    """Give every component a batch; grain: `key`, which may be project_id alone for whole projects.

    Columns: `key`, batch_index (int >= 0). Components stand in one long row,
    which is cut every `max_annotations` annotations, or more often where the lake is too small to
    give each of `slots` (tasks that run at once) two batches of that size; a component belongs to
    the piece it begins in, so a batch exceeds the budget by less than its last component. Indices
    may have gaps.

    The running sums are kept per partition and moved by the totals of the partitions before:
    one number per partition comes to the driver, and no window runs over all components.
    """
    sizes = components.select(*key, "num_annotations")
    ranged = (
        sizes.repartitionByRange(*key)
        .withColumn("part", F.spark_partition_id())
        .persist()  # range partitioning samples its input: it must not run twice
    )
    totals = ranged.groupBy("part").agg(F.sum("num_annotations").alias("total")).collect()
    by_part = sorted((int(row["part"]), int(row["total"])) for row in totals)
    begins = accumulate((total for _, total in by_part), initial=0)
    offsets = [(part, begin) for (part, _), begin in zip(by_part, begins, strict=False)]
    offset = components.sparkSession.createDataFrame(offsets, "part int, offset bigint")
    total = sum(annotations for _, annotations in by_part)
    budget = min(max_annotations, max(_SMALLEST_BUDGET, total // (2 * slots)))
    before = Window.partitionBy("part").orderBy(*key).rowsBetween(Window.unboundedPreceding, -1)
    begin = F.col("offset") + F.coalesce(F.sum("num_annotations").over(before), F.lit(0))
    return ranged.join(F.broadcast(offset), "part").select(
        *key,
        F.floor(begin / budget).cast("int").alias("batch_index"),
    )
