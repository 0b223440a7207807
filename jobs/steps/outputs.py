"""From scores to the columns of the published tables."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

__all__ = [
    "FIT_SCHEMA",
    "TIE_TOLERANCE",
    "assignments_from_scores",
    "fits_from_scores",
    "labels_from_scores",
    "stamp",
    "workers_from_scores",
]

# Of method_fits, but for the run's own columns.
FIT_SCHEMA = (
    "project_id string, method string, problem string, iterations bigint, converged boolean"
)

# Probabilities closer than this count as equal.
TIE_TOLERANCE = 1e-9


def labels_from_scores(scores: DataFrame, method: str = "crowdfm") -> DataFrame:
    """Return aggregated_labels of one method; grain: project_id, task_id, method."""
    margin = F.col("probability") - F.col("runner_up_probability")
    return scores.where(F.col("task_id").isNotNull()).select(
        "project_id",
        "task_id",
        F.lit(method).alias("method"),
        "label",
        _share("probability"),
        "probabilities",
        "runner_up_label",
        _clipped(margin).alias("margin"),
        F.when(F.col("entropy") > 0, F.col("entropy"))
        .when(F.col("entropy").isNotNull(), F.lit(0.0))
        .alias("entropy"),
        "num_annotations",
        _share("agreement"),
        (F.col("runner_up_label").isNotNull() & (margin < TIE_TOLERANCE)).alias("is_tie"),
        "difficulty",
        "component_id",
    )


def workers_from_scores(scores: DataFrame, method: str = "crowdfm") -> DataFrame:
    """Return worker_scores of one method; grain: project_id, worker_id, method.

    The score is the method's own where `scores` has the column, else the expected accuracy.
    A worker has one answer per task, so num_tasks equals num_annotations.
    """
    score = F.col("score") if "score" in scores.columns else _share("expected_accuracy")
    return scores.where(F.col("worker_id").isNotNull()).select(
        "project_id",
        "worker_id",
        F.lit(method).alias("method"),
        score.alias("score"),
        "ability",
        _share("expected_accuracy"),
        _share("agreement").alias("agreement_with_aggregate"),
        "num_annotations",
        F.col("num_annotations").alias("num_tasks"),
        F.lit(None).cast("double").alias("spam_score"),
        "component_id",
    )


def assignments_from_scores(scores: DataFrame, gold: DataFrame) -> DataFrame:
    """Return assignments without the run's own columns; grain: project_id, task_id, rank.

    gold: project_id, task_id, of tasks whose truth is known: nobody need be asked.
    """
    ranked = scores.select(
        "project_id", "task_id", F.posexplode("assigned").alias("place", "worker")
    )
    return ranked.join(gold, ["project_id", "task_id"], "left_anti").select(
        "project_id",
        "task_id",
        (F.col("place") + 1).alias("rank"),
        "worker.worker_id",
        "worker.compatibility",
    )


def fits_from_scores(scores: DataFrame, method: str) -> DataFrame:
    """Return method_fits of one method; grain: project_id, method."""
    is_project = F.col("task_id").isNull() & F.col("worker_id").isNull()
    return scores.where(is_project).select(
        "project_id", F.lit(method).alias("method"), "problem", "iterations", "converged"
    )


def stamp(rows: DataFrame, run_id: str, time_column: str = "updated_at") -> DataFrame:
    """Add run_id and the present time, which a table keeps for rows that did not change."""
    # MERGE puts the time in place of current_timestamp(), and computes rows anew that are persisted
    # with that.
    now = F.lit(datetime.now(UTC))
    return rows.withColumns({"run_id": F.lit(run_id), time_column: now})


def _share(name: str) -> Column:
    return _clipped(F.col(name)).alias(name)


def _clipped(value: Column) -> Column:
    # Averages of probabilities may leave [0, 1] by rounding; what is unknown stays null.
    return F.when(value.isNotNull(), F.least(F.greatest(value, F.lit(0.0)), F.lit(1.0)))
