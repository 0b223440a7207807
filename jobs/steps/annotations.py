"""From raw rows to annotations: rejection with reasons, and one row per (project, task, worker)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

__all__ = [
    "KEY",
    "MAX_ID_CHARACTERS",
    "arrange_by_task",
    "conflicting",
    "parse_times",
    "resolve_duplicates",
    "split_annotations",
    "split_rows",
]

KEY = ("project_id", "task_id", "worker_id")

# Longer ids are taken for damaged rows; they would also be copied with every annotation.
MAX_ID_CHARACTERS = 1024


def split_annotations(raw: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Return the good rows and the rejected ones, see split_rows.

    Takes text columns project_id, task_id, worker_id, label and annotated_at, typed_time (a
    timestamp: annotated_at where it came as one), and read_problem (null, or a reason of its own).
    Everything stays exactly as it came; blank means white space only. Good rows also have
    parsed_time: typed_time, else what annotated_at says.
    """
    names, is_text = (*KEY, "label"), F.col("typed_time").isNull() & ~_is_blank("annotated_at")
    untimely = is_text & _time("annotated_at").isNull()
    _, rejected = split_rows(raw, names, invalid_annotated_at=untimely)
    # Spark would ask for the time before it makes the column, and so parse every text twice; it
    # does not where a column beside it, which is asked for as well, is not the same in every run.
    time = F.coalesce("typed_time", _time("annotated_at"))
    columns = {"parsed_time": time, "partition": F.spark_partition_id()}
    untimely = is_text & F.col("parsed_time").isNull() & (F.col("partition") >= 0)
    good, _ = split_rows(raw.withColumns(columns), names, invalid_annotated_at=untimely)
    return good.drop("partition"), rejected


def split_rows(
    raw: DataFrame, names: Sequence[str], **checks: Column
) -> tuple[DataFrame, DataFrame]:
    """Return the good rows, and the others with `reasons` (array<string>); grain: one input row.

    reasons: which of the text columns `names` cannot be used, and which checks apply. A row that
    could not be read has only that reason. checks: reason -> whether a row has it, never null.
    """
    problems = {f"missing_{name}": _is_blank(name) for name in names}
    problems |= {f"{name}_too_long": _is_too_long(name) for name in names}
    problems |= checks
    # What could not be read has no columns whose absence would be worth a reason.
    unread = F.col("read_problem").isNotNull()
    is_bad = reduce(Column.__or__, problems.values(), unread)
    found = F.array_compact(F.array(*(F.when(is_so, name) for name, is_so in problems.items())))
    # Filtered first: nearly all rows are good, and their records need not be put together.
    rejected = raw.where(is_bad).withColumn(
        "reasons", F.when(unread, F.array("read_problem")).otherwise(found)
    )
    return raw.where(~is_bad), rejected


def parse_times(good: DataFrame) -> DataFrame:
    """Make annotated_at a timestamp; grain: one input row.

    good: of split_annotations. Columns: project_id, task_id, worker_id, label and annotated_at. The
    others tell what is wrong with a row.
    """
    return good.select(*KEY, "label", F.col("parsed_time").alias("annotated_at"))


def conflicting(good: DataFrame) -> DataFrame:
    """Return good rows whose worker gave differing answers to the task, with that as the reason.

    Grain: one input row. They are rejected under the duplicate rule `reject`.
    """
    keys = good.groupBy(*KEY).agg(F.count_distinct("label").alias("answers")).where("answers > 1")
    rows = good.drop("parsed_time").join(keys, list(KEY), "left_semi")
    return rows.withColumn("reasons", F.array(F.lit("conflicting_answers")))


def resolve_duplicates(valid: DataFrame, rule: Literal["latest", "first", "reject"]) -> DataFrame:
    """Keep one row per (project_id, task_id, worker_id); grain: that key.

    latest: the greatest annotated_at, rows without one last; first: the smallest, rows without one
    last; ties go to the smallest label in binary order, so that the order of rows leaves no trace.
    reject: keys with differing labels are left out. Adds num_duplicates, the rows that were
    superseded or repeated (bigint >= 0). Other columns come from the row that was kept.
    """
    seconds = F.unix_micros("annotated_at")
    place = {"latest": -seconds, "first": seconds, "reject": -seconds}[rule]
    rest = [name for name in valid.columns if name not in (*KEY, "label")]
    # The order of the struct's fields is the rule; whole rows follow, to break ties for good.
    ranked = F.struct(place.isNull(), place, F.col("label"), *(F.col(name) for name in rest))
    # Sorted by a hash of the task first, as ids are slow to compare; it is made after rows moved,
    # as it does not compress. Spark plans an aggregate with lists over sorted rows as one pass, but
    # one of structs alone as two.
    zero = F.size(F.collect_list(F.lit(None).cast("int")))
    kept = (
        valid.repartition("project_id", "task_id")
        .withColumn("hashed", F.xxhash64("project_id", "task_id"))
        .sortWithinPartitions("hashed", *KEY)
        .groupBy("hashed", *KEY)
        .agg(
            F.min(ranked).alias("kept"),
            (F.count("*") - 1 + zero).alias("num_duplicates"),
            F.min("label").alias("smallest"),
            F.max("label").alias("greatest"),
        )
    )
    if rule == "reject":
        kept = kept.where(F.col("smallest") == F.col("greatest"))
    names = ("label", *rest)
    return kept.select(*KEY, *(F.col(f"kept.{name}") for name in names), "num_duplicates")


def arrange_by_task(rows: DataFrame, *within: str) -> DataFrame:
    """Add task_hash (bigint) and put each task's rows side by side in one partition; same grain.

    What groups or joins the result by (task_hash, project_id, task_id), also with the columns
    `within` in this order, neither moves nor sorts it. The first is a hash of the others, as ids
    are slow to compare.
    """
    hashed = rows.withColumn("task_hash", F.xxhash64("project_id", "task_id"))
    key = ("task_hash", "project_id", "task_id")
    return hashed.repartition(*key).sortWithinPartitions(*key, *within)


def _time(name: str) -> Column:
    """Parse ISO 8601, or seconds (10 digits) or milliseconds (13 digits) since 1970, UTC."""
    text = F.col(name)
    seconds = F.when(text.rlike(r"\A\d{10}(\.\d+)?\z"), text.try_cast("decimal(16, 6)"))
    seconds = seconds.when(text.rlike(r"\A\d{13}\z"), text.try_cast("decimal(16, 0)") / 1000)
    # Dates have hyphens, numbers have none: a regular expression takes longer to see that.
    since_1970 = F.when(~text.contains("-"), F.timestamp_seconds(seconds))
    return F.coalesce(since_1970, F.try_to_timestamp(text))


def _is_too_long(name: str) -> Column:
    # No text has more characters than bytes, and bytes need not be counted.
    return (F.octet_length(name) > MAX_ID_CHARACTERS) & (F.length(name) > MAX_ID_CHARACTERS)


def _is_blank(name: str) -> Column:
    # Text that begins with a visible character of ASCII is not, and that is quickly seen.
    text = F.col(name)
    is_visible = (text >= "!") & (text <= "~")
    # \p{Z} and \s together cover every kind of white space, \p{Cc} the control characters.
    return F.coalesce(~is_visible & text.rlike(r"\A[\s\p{Z}\p{Cc}]*\z"), F.lit(True))
