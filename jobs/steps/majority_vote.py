"""Majority voting over all projects at once, in SQL."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.sql import run_sql
from jobs.steps.joins import small
from jobs.steps.units import UNIT

__all__ = ["count_votes", "majority_vote_labels", "majority_vote_workers"]


def count_votes(annotations: DataFrame, options: DataFrame) -> DataFrame:
    """Return the votes of every task; grain: project_id, task_id, in the order of the task hash.

    annotations: one row per (project_id, task_id, worker_id) with label and component_id, from
    arrange_by_task; options: from index_options, best persisted, as they are counted first.
    Columns: task_hash, component_id, num_annotations, votes, an array of label and num_votes that
    begins with the winner (the tie rule stands in jobs/sql/task_votes.sql), and their entropy in
    nats.
    """
    of_projects = small(options, options.count())
    return run_sql("task_votes", annotations=annotations, options=of_projects)


def majority_vote_labels(votes: DataFrame, max_probabilities: int) -> DataFrame:
    """Return aggregated_labels; grain: project_id, task_id, method.

    votes: of count_votes. max_probabilities: options with their shares, the most frequent ones.
    """
    return run_sql("majority_vote_labels", {"max_probabilities": max_probabilities}, votes=votes)


def majority_vote_workers(annotations: DataFrame, votes: DataFrame) -> DataFrame:
    """Return worker_scores; grain: project_id, worker_id, method. Both: see count_votes."""
    return run_sql("majority_vote_workers", {"unit": UNIT}, annotations=annotations, votes=votes)
