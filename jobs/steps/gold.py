"""Known truth of some tasks: rejection with reasons, and one row per task."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.steps.annotations import add_reasons

__all__ = ["GOLD_SCHEMA", "gold_labels", "rejected_gold"]

_KEY = ("project_id", "task_id")
_GOOD = "size(reasons) = 0"

GOLD_SCHEMA = "project_id string, task_id string, true_label string"


def gold_labels(raw: DataFrame) -> DataFrame:
    """Return the known truth; grain: project_id, task_id. Column beyond the key: true_label.

    raw: text columns project_id, task_id, true_label, and read_problem, one row per row that came.
    A task for which rows name different labels has no known truth.
    """
    per_task = _checked(raw).where(_GOOD).groupBy(*_KEY)
    agreed = per_task.agg(
        F.min("true_label").alias("true_label"), F.max("true_label").alias("last")
    )
    return agreed.where("true_label = last").drop("last")


def rejected_gold(raw: DataFrame) -> DataFrame:
    """Return the rows that gold_labels does not use, with `reasons`; grain: one row that came."""
    checked = _checked(raw)
    good = checked.where(_GOOD)
    labels = good.groupBy(*_KEY).agg(F.count_distinct("true_label").alias("labels"))
    rows = good.join(labels.where("labels > 1"), list(_KEY), "left_semi")
    reason = F.array(F.lit("conflicting_true_labels"))
    return checked.where(~F.expr(_GOOD)).unionByName(rows.withColumn("reasons", reason))


def _checked(raw: DataFrame) -> DataFrame:
    return add_reasons(raw, (*_KEY, "true_label"))
