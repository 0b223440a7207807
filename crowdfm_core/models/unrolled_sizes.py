"""Counts of one batch that the unrolled model's features are made of.

Letters: see candidates.py.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.models.operations import Array, Operations

__all__ = ["BatchSizes"]


class BatchSizes:
    """Counts of one batch as columns of the backend, and their logarithms; each is made when it is
    first asked for, as blocks and shards need those of one side alone."""

    def __init__(self, layout: CandidateGraph, ops: Operations) -> None:
        self.layout = layout
        self.ops = ops

    # Of tasks and their candidates.

    @cached_property
    def votes(self) -> Array:
        """Answers of the task equal to the candidate, [C, 1]."""
        return self._column(self.layout.votes)

    @cached_property
    def vote_share(self) -> Array:
        """Their share of the task's answers, [C, 1]."""
        answers = np.maximum(self._answers, 1)[self.layout.candidate_task]
        return self._column(self.layout.votes / answers)

    @cached_property
    def lead(self) -> Array:
        """The share less the task's largest, [C, 1]."""
        top = self.ops.group_max(self.vote_share, self.layout.candidate_start)
        return self.vote_share - self.ops.take(top, self.layout.candidate_task)

    @cached_property
    def answers(self) -> Array:
        """Answers of a task, at least 1, [T, 1]."""
        return self._column(np.maximum(self._answers, 1))

    @cached_property
    def root_answers(self) -> Array:
        """Their square root, [T, 1]."""
        return self._column(np.sqrt(np.maximum(self._answers, 1)))

    @cached_property
    def log_answers(self) -> Array:
        """log(1 + answers), [T, 1]."""
        return self._log_column(self._answers)

    @cached_property
    def candidates(self) -> Array:
        """Candidates of a task, [T, 1]."""
        return self._column(np.diff(self.layout.candidate_start))

    @cached_property
    def log_task_options(self) -> Array:
        """log(1 + options of the task's project), [T, 1]."""
        return self._log_column(self._options[self.layout.component_of_task])

    @cached_property
    def component_of_candidate(self) -> np.ndarray:
        """[C]."""
        return self.layout.component_of_task[self.layout.candidate_task]

    # Of workers and their rows.

    @cached_property
    def is_same(self) -> Array:
        """Whether the true option is the answer, [Q, 1]."""
        return self._column(self.layout.row_is_same)

    @cached_property
    def is_tied(self) -> Array:
        """Whether the project is tied, [Q, 1]."""
        return self._column(self.layout.row_is_tied)

    @cached_property
    def row_count(self) -> Array:
        """Answers of the row's pair, [Q, 1]."""
        return self._column(self._row_count)

    @cached_property
    def row_root(self) -> Array:
        """Square root of 1 + answers of the row's pair, [Q, 1]."""
        return self._column(np.sqrt(self._row_count + 1))

    @cached_property
    def log_row_count(self) -> Array:
        """log(1 + answers of the row's pair), [Q, 1]."""
        return self._log_column(self._row_count)

    @cached_property
    def worker_count(self) -> Array:
        """Answers of a worker, at least 1, [W, 1]."""
        return self._column(self._worker_count)

    @cached_property
    def log_worker_count(self) -> Array:
        """log(1 + answers of a worker), [W, 1]."""
        return self._log_column(self._worker_count)

    @cached_property
    def row_facts(self) -> Array:
        """What is the same of a row in every layer, [Q, 4]."""
        of_worker = self.ops.take(self.log_worker_count, self.layout.row_worker)
        return self.ops.concat([self.is_same, self.is_tied, self.log_row_count, of_worker])

    @cached_property
    def row_trust(self) -> Array:
        """Weight of a row in what is said of the crowd, [Q, 1]: a worker who is known from few
        answers says little."""
        of_worker = self._worker_count[self.layout.row_worker]
        return self._column(self._row_count / (of_worker + 5))

    @cached_property
    def truth_count(self) -> Array:
        """1 + answers of the pairs of a worker and a true option, [U, 1]."""
        layout = self.layout
        counts = np.bincount(layout.row_truth, self._row_count, layout.num_truths)
        return self._column(counts + 1)

    @cached_property
    def component_of_row(self) -> np.ndarray:
        """[Q]."""
        return self.layout.component_of_worker[self.layout.row_worker]

    @cached_property
    def log_others(self) -> Array:
        """log of the options but one of the row's project, [Q, 1]."""
        return self._column(np.log(np.maximum(self._options - 1, 1))[self.component_of_row])

    @cached_property
    def pooled_is_same(self) -> Array:
        """Whether the true option of a pooled row is the answer, [., 1]."""
        return self._column(self.layout.pooled_is_same)

    @cached_property
    def kinds_of_pooled(self) -> Array:
        """Answers that a pooled row is one of, [., 1]."""
        return self._column(self.layout.kinds_of_pooled)

    # Of components and their options.

    @cached_property
    def log_options(self) -> Array:
        """log(1 + options), [J, 1]."""
        return self._log_column(self._options)

    @cached_property
    def prior_total(self) -> Array:
        """Tasks and options of a group's component, [I, 1]."""
        return self._column((self._tasks + self._options)[self.layout.component_of_group])

    @cached_property
    def option_tasks(self) -> Array:
        """Tasks of a group's component, [I, 1]."""
        return self._column(self._tasks[self.layout.component_of_group])

    @cached_property
    def component_count(self) -> Array:
        """Annotations, [J, 1]."""
        return self._column(self._counts[:, 0])

    @cached_property
    def component_tasks(self) -> Array:
        """Tasks, at least 1, [J, 1]."""
        return self._column(np.maximum(self._tasks, 1))

    @cached_property
    def component_workers(self) -> Array:
        """Workers, at least 1, [J, 1]."""
        return self._column(np.maximum(self._counts[:, 2], 1))

    @cached_property
    def log_component(self) -> Array:
        """log(1 + tasks, workers, annotations), [J, 3]."""
        return self.ops.array(np.log1p(self._counts[:, [1, 2, 0]]))

    @cached_property
    def _answers(self) -> np.ndarray:
        return np.asarray(self.layout.graph.tasks.degree, float)

    @cached_property
    def _row_count(self) -> np.ndarray:
        of_pair = np.diff(self.layout.graph.workers.entry_start)
        return of_pair[self.layout.row_pair].astype(float)

    @cached_property
    def _worker_count(self) -> np.ndarray:
        counts: np.ndarray = np.maximum(self.layout.graph.workers.degree.astype(float), 1)
        return counts

    @cached_property
    def _counts(self) -> np.ndarray:
        """Annotations, tasks, workers and options of the components, [J, 4]."""
        counts = [
            (of.annotations, of.tasks, of.workers, of.options) for of in self.layout.components
        ]
        return np.array(counts).reshape(-1, 4)

    @property
    def _tasks(self) -> np.ndarray:
        return self._counts[:, 1]

    @property
    def _options(self) -> np.ndarray:
        return self._counts[:, 3]

    def _column(self, values: np.ndarray) -> Array:
        return self.ops.array(np.asarray(values, float)[:, None])

    def _log_column(self, values: np.ndarray) -> Array:
        return self._column(np.log1p(values))
