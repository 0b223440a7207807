"""Counts of a run, from its tables into its summary."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.steps.methods import WITHOUT_FITS
from jobs.summary import PROBABLE, RunSummary

__all__ = ["count_assignments", "count_components", "count_labels", "count_reasons"]


def count_reasons(summary: RunSummary, rejected: DataFrame) -> None:
    """Count rows of rejected_annotations by reason."""
    # One row per combination of reasons, of which there are a handful.
    for reasons, rows in rejected.groupBy("reasons").count().collect():
        summary.count_rejected(reasons, int(rows))


def count_components(summary: RunSummary, components: DataFrame) -> None:
    """Count what lies in the components of all projects, and what is therefore superseded."""
    totals = components.agg(
        F.count_distinct("project_id").alias("projects"),
        F.count("*").alias("components"),
        F.sum("num_tasks").alias("tasks"),
        F.sum("num_workers").alias("workers"),
        F.sum("num_annotations").alias("annotations"),
        F.max("num_annotations").alias("largest_component"),
    ).first()
    assert totals is not None  # a global aggregation has one row
    for name, value in totals.asDict().items():
        setattr(summary, name, int(value or 0))
    summary.rows_superseded = summary.rows_read - summary.rows_rejected - summary.annotations


def count_labels(
    summary: RunSummary, labels: DataFrame, fits: DataFrame, methods: Sequence[str]
) -> None:
    """Count aggregated_labels, and in method_fits projects without labels, by method."""
    counts = labels.groupBy("method").agg(
        F.count("*").alias("labelled"),
        F.count_if(F.col("probability") >= PROBABLE).alias("probable"),
        F.count_if("is_tie").alias("ties"),
    )
    for of_method in (summary.labelled, summary.probable, summary.ties):
        of_method.update(dict.fromkeys(methods, 0))
    for method, *values in counts.collect():
        summary.labelled[method], summary.probable[method], summary.ties[method] = values
    if set(methods) - set(WITHOUT_FITS):
        problems = fits.groupBy("method").agg(F.count("problem"))
        summary.problems = dict(problems.collect())


def count_assignments(summary: RunSummary, assignments: DataFrame) -> None:
    """Count the tasks that are assigned to anybody."""
    summary.assigned_tasks = assignments.where(F.col("rank") == 1).count()
