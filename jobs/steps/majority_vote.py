"""Majority voting over all projects at once, in SQL."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.sql import run_sql
from jobs.steps.joins import small
from jobs.steps.lineage import cut_lineage

__all__ = ["keep_most_probable", "majority_vote_labels", "majority_vote_workers"]


def majority_vote_labels(annotations: DataFrame) -> DataFrame:
    """Return aggregated_labels with all answered options; grain: project_id, task_id, method.

    annotations: one row per (project_id, task_id, worker_id) with label and component_id, from
    arrange_by_task. The tie rule stands in jobs/sql/majority_vote_labels.sql.
    """
    votes = annotations.groupBy("project_id", "label").agg(F.count("*").alias("num_votes"))
    options = cut_lineage(votes)
    of_projects = small(options, options.count())
    return run_sql("majority_vote_labels", annotations=annotations, options=of_projects)


def majority_vote_workers(annotations: DataFrame, labels: DataFrame) -> DataFrame:
    """Return worker_scores; grain: project_id, worker_id, method. labels: the result above."""
    return run_sql("majority_vote_workers", annotations=annotations, labels=labels)


def keep_most_probable(labels: DataFrame, max_probabilities: int) -> DataFrame:
    """Cut the map of probabilities to its first entries, which are the most probable."""
    first = F.slice(F.map_entries("probabilities"), 1, max_probabilities)
    return labels.withColumn("probabilities", F.map_from_entries(first))
