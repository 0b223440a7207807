"""Known truth of some tasks: rejection with reasons, and one row per task."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.config import JobConfig
from crowdfm_core.methods.registry import takes_gold
from jobs.steps.annotations import split_rows
from udfs.aggregate_projects import KNOWN_OPTION

__all__ = [
    "GOLD_SCHEMA",
    "add_known_options",
    "gold_labels",
    "known_options",
    "methods_with_gold",
    "rejected_gold",
]

_KEY = ("project_id", "task_id")

GOLD_SCHEMA = "project_id string, task_id string, true_label string, is_given boolean"
_HASHES = 1_000_000  # values of the hash that holds tasks out


def gold_labels(raw: DataFrame, *, held_out: float = 0.0) -> DataFrame:
    """Return the known truth; grain: project_id, task_id. Columns beyond the key: true_label,
    is_given.

    raw: text columns project_id, task_id, true_label, and read_problem, one row per row that came.
    A task for which rows name different labels has no known truth. is_given: whether methods may
    use it; about a share `held_out` in [0, 1] of the tasks, by a hash of their ids and so the same
    from run to run, is kept from them.
    """
    good, _ = _split(raw)
    per_task = good.groupBy(*_KEY)
    agreed = per_task.agg(
        F.min("true_label").alias("true_label"), F.max("true_label").alias("last")
    )
    place = F.pmod(F.xxhash64(*_KEY), F.lit(_HASHES))
    is_given = (place >= F.lit(held_out * _HASHES)).alias("is_given")
    return agreed.where("true_label = last").select(*_KEY, "true_label", is_given)


def methods_with_gold(config: JobConfig) -> list[str]:
    """The methods of a run that are told the truth of tasks with gold."""
    if config.gold is None:
        return []
    pin = config.gold.pin_posteriors
    return [method for method in config.methods if takes_gold(method, pin_posteriors=pin)]


def add_known_options(annotations: DataFrame, options: DataFrame, gold: DataFrame) -> DataFrame:
    """Add to annotations the option_index of their task's truth, as KNOWN_OPTION; same grain.

    options: from index_options; gold: from gold_labels. It is null where methods are not given the
    truth, and where nobody in the project answered it, so that it is none of the options.
    """
    return annotations.join(known_options(options, gold), list(_KEY), "left")


def known_options(options: DataFrame, gold: DataFrame) -> DataFrame:
    """Return the option_index of the truths that methods are given, as KNOWN_OPTION; grain:
    project_id, task_id. options, gold: as for add_known_options."""
    truths = gold.where("is_given").withColumnRenamed("true_label", "label")
    known = truths.join(options, ["project_id", "label"])
    return known.select(*_KEY, F.col("option_index").alias(KNOWN_OPTION))


def rejected_gold(raw: DataFrame) -> DataFrame:
    """Return the rows that gold_labels does not use, with `reasons`; grain: one row that came."""
    good, rejected = _split(raw)
    labels = good.groupBy(*_KEY).agg(F.count_distinct("true_label").alias("labels"))
    rows = good.join(labels.where("labels > 1"), list(_KEY), "left_semi")
    reason = F.array(F.lit("conflicting_true_labels"))
    return rejected.unionByName(rows.withColumn("reasons", reason))


def _split(raw: DataFrame) -> tuple[DataFrame, DataFrame]:
    return split_rows(raw, (*_KEY, "true_label"))
