"""The options of every project: its distinct answers in binary order."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

__all__ = ["index_options"]


def index_options(annotations: DataFrame) -> DataFrame:
    """Number the options; grain: project_id, label.

    Columns: project_id, label, num_votes (bigint, its annotations) and option_index (int, 0-based
    place among the project's sorted labels).
    The window runs over distinct labels, project by project.
    """
    in_order = Window.partitionBy("project_id").orderBy("label")
    return (
        annotations.groupBy("project_id", "label")
        .agg(F.count("*").alias("num_votes"))
        .withColumn("option_index", (F.row_number().over(in_order) - 1).cast("int"))
    )
