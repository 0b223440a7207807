"""Counts of one batch that the unrolled model's features are made of.

Letters: see candidates.py.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.models.operations import Array, Operations

__all__ = ["BatchSizes"]


class BatchSizes:
    """Counts of one batch as columns of the backend, and their logarithms."""

    def __init__(self, layout: CandidateGraph, ops: Operations) -> None:
        graph = layout.graph

        def column(values: np.ndarray) -> Array:
            return ops.array(np.asarray(values, float)[:, None])

        def log_column(values: np.ndarray) -> Array:
            return column(np.log1p(values))

        self.layout = layout
        answers = np.asarray(graph.tasks.degree, float)
        task_of = layout.candidate_task
        self.votes = column(layout.votes)
        self.vote_share = column(layout.votes / np.maximum(answers, 1)[task_of])
        top = ops.group_max(self.vote_share, layout.candidate_start)
        self.lead = self.vote_share - ops.take(top, task_of)
        self.answers = column(np.maximum(answers, 1))
        self.root_answers = column(np.sqrt(np.maximum(answers, 1)))
        self.log_answers = log_column(answers)
        self.candidates = column(np.diff(layout.candidate_start))

        row_count = np.diff(graph.workers.entry_start)[layout.row_pair].astype(float)
        worker_count = np.maximum(np.asarray(graph.workers.degree, float), 1)
        self.is_same = column(layout.row_is_same)
        self.is_tied = column(layout.row_is_tied)
        self.row_count = column(row_count)
        self.row_root = column(np.sqrt(row_count + 1))
        self.log_row_count = log_column(row_count)
        self.worker_count = column(worker_count)
        self.log_worker_count = log_column(worker_count)
        of_row = [
            self.is_same,
            self.is_tied,
            self.log_row_count,
            ops.take(self.log_worker_count, layout.row_worker),
        ]
        self.row_facts = ops.concat(of_row)  # [Q, 4], the same in every layer
        of_worker = worker_count[layout.row_worker]
        # A worker who is known from few answers says little about the crowd.
        self.row_trust = column(row_count / (of_worker + 5))
        self.truth_count = column(np.bincount(layout.row_truth, row_count, layout.num_truths) + 1)

        counts = np.array(
            [(of.annotations, of.tasks, of.workers, of.options) for of in layout.components]
        ).reshape(-1, 4)
        annotations, tasks, workers, options = counts.T
        self.component_of_row = layout.component_of_worker[layout.row_worker]
        self.component_of_candidate = layout.component_of_task[task_of]
        self.log_options = log_column(options)
        self.log_task_options = log_column(options[layout.component_of_task])
        self.log_others = column(np.log(np.maximum(options - 1, 1))[self.component_of_row])
        self.prior_total = column((tasks + options)[layout.component_of_group])
        self.option_tasks = column(tasks[layout.component_of_group])
        self.component_count = column(annotations)
        self.component_tasks = column(np.maximum(tasks, 1))
        self.component_workers = column(np.maximum(workers, 1))
        self.log_component = ops.array(np.log1p(counts[:, [1, 2, 0]]))
        self.pooled_is_same = column(layout.pooled_is_same)
        self.kinds_of_pooled = column(layout.kinds_of_pooled)
