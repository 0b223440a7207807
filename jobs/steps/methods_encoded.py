"""Annotations in keys instead of ids, for methods in SQL that walk them many times."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.sql import run_sql
from jobs.steps.gold import known_options
from jobs.steps.joins import small
from jobs.steps.lineage import cut_lineage
from udfs.aggregate_projects import KNOWN_OPTION

__all__ = ["EncodedAnswers", "encode_answers"]


@dataclass(frozen=True)
class EncodedAnswers:
    """One lake in keys (bigint, in no meaningful order) and option_index (int).

    answers: project_key, task_key, worker_key, option_index, known_option; a task's rows in one
    partition.
    tasks: project_key, task_key, project_id, task_id, component_id, num_annotations, known_option,
    votes (map).
    workers: project_key, worker_key, project_id, worker_id, component_id, num_annotations.
    projects: project_key, project_id, num_options, num_tasks, num_annotations.
    options: project_key, option_index, label.
    known_option: the option_index of the task's truth, null where it is not told.
    num_workers, num_projects: rows of these frames.
    """

    answers: DataFrame
    tasks: DataFrame
    workers: DataFrame
    projects: DataFrame
    options: DataFrame
    num_workers: int
    num_projects: int

    def without_gold(self) -> EncodedAnswers:
        """The same answers, to methods that are told no truth."""
        unknown = F.lit(None).cast("int")
        return replace(
            self,
            answers=self.answers.withColumn(KNOWN_OPTION, unknown),
            tasks=self.tasks.withColumn(KNOWN_OPTION, unknown),
        )


def encode_answers(annotations: DataFrame, options: DataFrame, gold: DataFrame) -> EncodedAnswers:
    """Encode annotations (project_id, task_id, worker_id, label, component_id), and the truth of
    gold_labels that methods are given; options: from index_options."""
    by_label = cut_lineage(options)
    workers = _numbered(
        annotations.groupBy("project_id", "worker_id", "component_id").agg(
            F.count("*").alias("num_annotations")
        ),
        "worker_key",
        "project_id",
        "worker_id",
    )
    task_ids = _numbered(
        annotations.groupBy("project_id", "task_id", "component_id")
        .agg(F.count("*").alias("num_annotations"))
        .join(known_options(by_label, gold), ["project_id", "task_id"], "left"),
        "task_key",
        "project_id",
        "task_id",
    )
    num_options = by_label.groupBy("project_id").agg(F.count("*").cast("int").alias("num_options"))
    sizes = task_ids.groupBy("project_id").agg(
        F.count("*").alias("num_tasks"), F.sum("num_annotations").alias("num_annotations")
    )
    projects = _numbered(num_options.join(sizes, "project_id"), "project_key", "project_id")
    num_projects = projects.count()
    project_keys = projects.select("project_id", "project_key")
    options = by_label.drop("num_votes").join(project_keys, "project_id")
    partitions = int(annotations.sparkSession.conf.get("spark.sql.shuffle.partitions") or 200)
    answers = cut_lineage(
        annotations.select("project_id", "task_id", "worker_id", "label")
        .join(options, ["project_id", "label"])
        .join(workers.select("project_id", "worker_id", "worker_key"), ["project_id", "worker_id"])
        .join(
            task_ids.select("project_id", "task_id", "task_key", KNOWN_OPTION),
            ["project_id", "task_id"],
        )
        .select("project_key", "task_key", "worker_key", "option_index", KNOWN_OPTION)
        .repartition(partitions, "task_key")
        .sortWithinPartitions("task_key", "worker_key"),
        keep_layout=True,
    )
    votes = run_sql("method_votes", answers=answers)
    tasks = cut_lineage(votes.join(task_ids, "task_key"))
    return EncodedAnswers(
        answers=answers,
        tasks=tasks,
        workers=workers.join(project_keys, "project_id"),
        projects=small(projects, num_projects),
        options=options.select("project_key", "option_index", "label"),
        num_workers=workers.count(),
        num_projects=num_projects,
    )


def _numbered(frame: DataFrame, name: str, *key: str) -> DataFrame:
    """Add a bigint per row, which a partition that is computed again gives again."""
    ordered = frame.sortWithinPartitions(*key)
    return cut_lineage(ordered.withColumn(name, F.monotonically_increasing_id()))
