"""Packs components into batches of about equal numbers of annotations."""

from __future__ import annotations

from itertools import accumulate

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

__all__ = ["assign_batches"]


def assign_batches(components: DataFrame, *, max_annotations: int) -> DataFrame:
    """Give every component a batch; grain: project_id, component_id.

    Columns: project_id, component_id, batch_index (int >= 0). Components stand in one long row,
    which is cut every `max_annotations` annotations; a component belongs to the piece it begins
    in, so a batch exceeds the budget by less than its last component. Indices may have gaps.

    The running sums are kept per partition and moved by the totals of the partitions before:
    one number per partition comes to the driver, and no window runs over all components.
    """
    sizes = components.select("project_id", "component_id", "num_annotations")
    ranged = (
        sizes.repartitionByRange("project_id", "component_id")
        .withColumn("part", F.spark_partition_id())
        .persist()  # range partitioning samples its input: it must not run twice
    )
    totals = ranged.groupBy("part").agg(F.sum("num_annotations").alias("total")).collect()
    by_part = sorted((int(row["part"]), int(row["total"])) for row in totals)
    begins = accumulate((total for _, total in by_part), initial=0)
    offsets = [(part, begin) for (part, _), begin in zip(by_part, begins, strict=False)]
    offset = components.sparkSession.createDataFrame(offsets, "part int, offset bigint")
    before = (
        Window.partitionBy("part")
        .orderBy("project_id", "component_id")
        .rowsBetween(Window.unboundedPreceding, -1)
    )
    begin = F.col("offset") + F.coalesce(F.sum("num_annotations").over(before), F.lit(0))
    return ranged.join(F.broadcast(offset), "part").select(
        "project_id",
        "component_id",
        F.floor(begin / max_annotations).cast("int").alias("batch_index"),
    )
