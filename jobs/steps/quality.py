"""Quality of annotations, workers and labels over all projects at once, in SQL.

Agreement is computed from patterns of votes, never from pairs of answers. What does take pairs (of
workers, for Cohen's kappa and for copied errors) is bounded by the constants below.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.sql import run_sql
from jobs.steps.annotations import arrange_by_task
from jobs.steps.joins import small
from jobs.steps.lineage import cut_lineage
from jobs.steps.units import UNIT

__all__ = [
    "add_spam_scores",
    "count_confusions",
    "measure_quality",
    "measure_workers",
    "previous_quality",
    "unchanged_quality",
]

_FEW = 10  # workers with fewer answers are never suspects
_PRIOR = 10  # answers like the project's that are added to a worker's for agreement_shrunk
_MAX_ALIKE = 5  # workers with the same wrong answer to a task, among whom copying is looked for
_FEWEST_SHARED = 5  # errors shared with one worker, below which nobody is suspected to copy
_MAX_SECONDS = 3600  # a longer interval between two answers is a pause
_MAX_CELLS = 1000  # of a confusion matrix in a column
_MAX_LABELS = 1000  # with their shares in a column

# Of the labels, what tells methods apart.
_COMPARED = (
    *("project_id", "task_id", "method", "label"),
    *("probability", "runner_up_label", "margin", "entropy"),
)

# Pairs for Cohen's kappa, per project: of at most so many workers, at most so many times.
_PAIRED_WORKERS = 10
_MAX_MEETINGS = 100_000
_MIN_SHARED = 10  # tasks of a pair


def measure_quality(
    annotations: DataFrame,
    votes: DataFrame,
    labels: DataFrame,
    gold: DataFrame,
    previous: DataFrame,
    *,
    reference: str,
    with_gold: Sequence[str] = (),
    persisted: list[DataFrame],
) -> dict[str, DataFrame]:
    """Return project_quality, method_quality, worker_quality, task_quality and label_thresholds.

    By name, without the run's own columns; what several of them need is computed now, and added to
    `persisted`, for the caller to unpersist when all have been written.
    annotations: project_id, task_id, worker_id, label, annotated_at, one row per answer, from
    arrange_by_task; votes: of count_votes, from these; labels: aggregated_labels of all methods;
    gold: from gold_labels, without rows where nothing is known; previous: of previous_quality.
    Tasks and workers are judged by the labels of the method `reference`. The methods `with_gold`
    were told the truth of the tasks where gold.is_given, and are not judged by them. Annotations
    that are persisted are moved once, to their workers for the times between answers; beside them
    the cells of confusion matrices move.
    """
    unit, of_reference = {"unit": UNIT}, {"reference": reference}
    judged_by: dict[str, int | str] = {**unit, **of_reference}
    by_task = arrange_by_task(labels.select(*_COMPARED))
    with_labels = run_sql("quality_tasks", judged_by, votes=votes, labels=by_task, gold=gold)
    tasks = _kept(with_labels, persisted)
    answers = _kept(run_sql("quality_answers", annotations=annotations, tasks=tasks), persisted)
    confusions = _kept(count_confusions(answers), persisted)
    probabilities = cut_lineage(run_sql("quality_probabilities", unit, labels=labels))
    told = {"with_gold": ",".join(with_gold)}
    judged = cut_lineage(run_sql("quality_judged", told, labels=labels, gold=gold))
    patterns = cut_lineage(run_sql("quality_vote_patterns", tasks=tasks))
    methods = cut_lineage(
        run_sql(
            "quality_methods",
            judged_by,
            probabilities=probabilities,
            truth=run_sql("quality_truth", {"max_cells": _MAX_CELLS}, judged=judged),
            tasks=tasks,
        )
    )
    return {
        "project_quality": run_sql(
            "quality_projects",
            of_reference,
            labels=run_sql("quality_labels", {"max_labels": _MAX_LABELS}, tasks=tasks),
            agreement=run_sql("quality_agreement", patterns=patterns),
            pairs=_pairs(answers, confusions),
            methods=methods,
            previous=previous,
        ),
        "method_quality": methods,
        "worker_quality": measure_workers(annotations, answers, confusions, reference=reference),
        "task_quality": run_sql("quality_task_findings", of_reference, tasks=tasks),
        "label_thresholds": run_sql(
            "quality_thresholds", probabilities=probabilities, judged=judged
        ),
    }


def count_confusions(answers: DataFrame) -> DataFrame:
    """Return the cells of confusion matrices; grain: project_id, worker_id, label, answer.

    answers: of quality_answers.sql. The cells of a worker stand side by side.
    """
    values = {"unit": UNIT, "max_alike": _MAX_ALIKE}
    cells = run_sql("quality_confusions", values, answers=answers)
    key = ("worker_hash", "project_id", "worker_id")
    return cells.repartition(*key).sortWithinPartitions(*key, "label")


def measure_workers(
    annotations: DataFrame, answers: DataFrame, confusions: DataFrame, *, reference: str
) -> DataFrame:
    """Return worker_quality without the run's own columns; grain: project_id, worker_id.

    annotations: as in measure_quality, for the times of answers; answers: of quality_answers.sql;
    confusions: of count_confusions.
    """
    alike = cut_lineage(run_sql("quality_most_alike", {"max_alike": _MAX_ALIKE}, answers=answers))
    suspected = alike.where(F.col("num_shared_errors") >= _FEWEST_SHARED)
    # Summed per project and compared with the sums: made twice without this.
    measures = cut_lineage(
        run_sql("quality_worker_measures", {"unit": UNIT}, confusions=confusions)
    )
    return run_sql(
        "quality_workers",
        {
            "reference": reference,
            "unit": UNIT,
            "prior": _PRIOR,
            "few": _FEW,
            "max_cells": _MAX_CELLS,
        },
        measures=measures,
        shared_errors=run_sql(
            "quality_shared_errors",
            {"max_alike": _MAX_ALIKE, "unit": UNIT},
            answers=answers,
            most_alike=alike,
            suspected=small(suspected, suspected.count()),
        ),
        speeds=run_sql("quality_speed", {"max_seconds": _MAX_SECONDS}, annotations=annotations),
    )


def add_spam_scores(workers: DataFrame, worker_quality: DataFrame) -> DataFrame:
    """Return worker_scores of all methods with the spam_score of the one that judged the workers.

    Grain: project_id, worker_id, method.
    """
    key = ["project_id", "worker_id", "method"]
    return workers.drop("spam_score").join(worker_quality.select(*key, "spam_score"), key, "left")


def previous_quality(project_quality: DataFrame, runs: DataFrame, run_id: str) -> DataFrame:
    """Return what the newest other run that SUCCEEDED found; grain: project_id.

    Columns: run_id, label_shares.
    """
    return run_sql(
        "quality_previous", {"run_id": run_id}, project_quality=project_quality, runs=runs
    )


def unchanged_quality(quality: DataFrame, run_id: str) -> DataFrame:
    """Return what run `run_id` found, as it would be found again: without any drift since then.

    quality: project_quality or method_quality; returned without the run's own columns.
    """
    found = quality.where(F.col("run_id") == run_id).drop("run_id", "updated_at")
    if "label_drift" not in found.columns:
        return found
    no_drift = F.when(F.col("label_shares").isNotNull(), F.lit(0.0))
    return found.withColumns({"previous_run_id": F.lit(run_id), "label_drift": no_drift})


def _pairs(answers: DataFrame, confusions: DataFrame) -> DataFrame:
    busiest = cut_lineage(
        run_sql("quality_busiest_workers", {"max_workers": _PAIRED_WORKERS}, confusions=confusions)
    )
    of_projects = small(busiest, busiest.count())
    # Counted and drawn from: two passes over the answers without this.
    shared = cut_lineage(run_sql("quality_shared_tasks", answers=answers, busiest=of_projects))
    return run_sql(
        "quality_pair_kappa",
        {"max_meetings": _MAX_MEETINGS, "min_shared": _MIN_SHARED},
        shared=shared,
    )


def _kept(frame: DataFrame, persisted: list[DataFrame]) -> DataFrame:
    """Compute a large frame now and keep it on disk, in columns and where its rows are."""
    persisted.append(frame.persist(StorageLevel.DISK_ONLY))
    frame.count()
    return frame
