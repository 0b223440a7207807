"""Which workers suit which tasks: the probability that a worker answers a task rightly.

A pair's score, in log odds, is one inner product of a worker's and a task's factors:

    score(w, t) = <u(w), v(t)> + a(w) + b(t) + c * sum over options k of p[t,k] r[w,k] + o(t)

u, a and v, b are heads on the frozen encoder's embeddings; p is the task's posterior and r[w,k]
the log odds of the worker's recall of class k, shrunk towards the crowd's. They are learned on
pairs that the encoder has not seen, as many right as wrong ones of every crowd ("balanced
filtering"), so that the head learns which pairs differ and not how good a crowd is. o(t) restores
that: the log odds of the crowd's expected accuracy, by Bayes' rule. The CrowdFM paper names such a
head (equation 14) and its filtering; form and training here are ours. Workers are compared within
the task's component only, as nothing is known about others.

Letters: T tasks, W workers, K options, R rank, Q rows, C candidates (see candidates.py), F
factors, N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.candidates import MAX_DENSE_OPTIONS, CandidateGraph
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.unrolled import UnrolledConfig, UnrolledModel
from crowdfm_core.read_outs import PAIR_HEAD, PREFIX, Tensors, has_pair_head, read_outs
from crowdfm_core.weights import FrozenWeights

__all__ = [
    "RANK",
    "ClassCounts",
    "PairFactors",
    "belief_in_classes",
    "class_skill",
    "count_classes",
    "crowd_log_odds",
    "expect_pair_head",
    "factors_of",
    "log_odds_of_crowd",
    "pair_factors",
    "probability_of",
    "recall_of_classes",
    "score_pairs",
    "task_factors",
    "worker_factors",
]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

RANK = 8  # of <u(w), v(t)> in heads that are fitted
_PRIOR_ANSWERS = 4.0  # of the crowd's recall of a class, added to a worker's own answers
_LARGEST_LOG_ODDS = 5.0  # of a recall
_MAX_CELLS = 4_000_000  # scores that are held at once


@dataclass(frozen=True)
class PairFactors:
    """score(w, t) = <worker[w], task[t]>, the log odds that w answers t rightly."""

    worker: Floats  # [W, F]
    task: Floats  # [T, F]
    component_of_worker: IntArray  # [W]
    component_of_task: IntArray  # [T]


@dataclass(frozen=True)
class ClassCounts:
    """Expected answers on tasks of each class, and how many of them are right, [., K] each.

    K is MAX_DENSE_OPTIONS; zeros stand for options that a project lacks, and throughout tied
    components, whose classes are not told apart.
    """

    right: Floats
    total: Floats

    def by(self, component: IntArray, components: int) -> ClassCounts:
        """Add up the rows of each component [.]: [J, K] of J components."""
        sums = np.zeros((2, components, MAX_DENSE_OPTIONS))
        for place, values in enumerate((self.right, self.total)):
            np.add.at(sums[place], component, values)
        return ClassCounts(*sums)


def pair_factors(weights: FrozenWeights, graph: AnnotationGraph) -> PairFactors:
    """Run the frozen model on one batch (CPU) and return the factors of its tasks and workers.

    Raises ScoringError where the weights have no compatibility head.
    """
    expect_pair_head(weights.heads)
    assert isinstance(weights.config, UnrolledConfig)  # only these have the head
    ops = NumpyOps()
    tensors = {name: ops.array(value) for name, value in weights.tensors.items()}
    layout = CandidateGraph.of(graph)
    outputs = UnrolledModel(weights.config, tensors, ops).run(layout)
    posterior = np.exp(outputs.log_posterior[:, 0].astype(np.float64))
    return factors_of(weights.heads, layout, posterior, outputs.workers, outputs.tasks)


def expect_pair_head(heads: Tensors) -> None:
    """Raise ScoringError where weights cannot say how workers suit tasks."""
    if not has_pair_head(heads):
        raise ScoringError(
            "the weights have no compatibility head, which tells how workers suit tasks; take "
            "`default` or `fast`, or what `crowdfm pretrain export` makes of an unrolled model"
        )


def factors_of(
    heads: Tensors,
    layout: CandidateGraph,
    posterior: Floats,
    workers: npt.NDArray[Any],
    tasks: npt.NDArray[Any],
) -> PairFactors:
    """Factors from the posterior [C] and the embeddings of workers [W, D] and tasks [T, D]."""
    recall, belief = class_skill(layout, posterior)
    odds = crowd_log_odds(layout, posterior)[layout.component_of_task]
    return PairFactors(
        worker=worker_factors(heads, workers, recall),
        task=task_factors(heads, tasks, belief, odds),
        component_of_worker=layout.component_of_worker,
        component_of_task=layout.component_of_task,
    )


def worker_factors(heads: Tensors, embedded: npt.NDArray[Any], recall: Floats) -> Floats:
    """Factors of workers [W, F] from their embeddings [W, D] and log odds of recall [W, K]."""
    own = read_outs(heads, f"{PAIR_HEAD}.worker", embedded)
    return np.hstack([own, np.ones((len(own), 1)), recall])


def task_factors(
    heads: Tensors, embedded: npt.NDArray[Any], belief: Floats, odds: Floats
) -> Floats:
    """Factors of tasks [T, F] from their embeddings [T, D], beliefs [T, K] and o(t) [T]."""
    own = read_outs(heads, f"{PAIR_HEAD}.task", embedded)
    weight = float(heads[f"{PREFIX}{PAIR_HEAD}.class_skill"][0])
    # The last output of either head is its own term; ones stand opposite to it.
    ones = np.ones((len(own), 1))
    return np.hstack([own[:, :-1], ones, own[:, -1:] + odds[:, None], weight * belief])


def class_skill(layout: CandidateGraph, posterior: Floats) -> tuple[Floats, Floats]:
    """Log odds of each worker's recall of each class [W, K], and the tasks' posterior [T, K].

    Zeros stand as in `ClassCounts`.
    """
    ops = NumpyOps(np.float64)
    expected = ops.candidates_to_rows(ops.array(posterior[:, None]), layout)[:, 0]
    counts = count_classes(layout, np.asarray(expected, np.float64))
    component = layout.component_of_worker
    crowd = counts.by(component, len(layout.options_of_component))
    return recall_of_classes(layout, counts, crowd), belief_in_classes(layout, posterior)


def belief_in_classes(layout: CandidateGraph, posterior: Floats) -> Floats:
    """The posterior [C] of tasks in columns, [T, K], with zeros as in `ClassCounts`."""
    belief = np.zeros((len(layout.task_is_tied), MAX_DENSE_OPTIONS))
    kept = ~layout.task_is_tied[layout.candidate_task]
    task = layout.candidate_task[kept]
    first = layout.graph.task_option_start[task]
    belief[task, layout.candidate_option[kept] - first] = posterior[kept]
    return belief


def count_classes(layout: CandidateGraph, expected: Floats) -> ClassCounts:
    """Sum the expected counts of all rows [Q] by worker and class."""
    row = np.flatnonzero(layout.row_is_tied == 0)
    place = row - layout.row_start[layout.row_pair[row]]
    num_workers = len(layout.component_of_worker)
    cell = layout.row_worker[row] * MAX_DENSE_OPTIONS + place

    def of_class(values: npt.NDArray[Any]) -> Floats:
        sums = np.bincount(cell, values, num_workers * MAX_DENSE_OPTIONS)
        return sums.astype(np.float64).reshape(num_workers, MAX_DENSE_OPTIONS)

    return ClassCounts(of_class(expected[row] * layout.row_is_same[row]), of_class(expected[row]))


def recall_of_classes(layout: CandidateGraph, counts: ClassCounts, crowd: ClassCounts) -> Floats:
    """Log odds of recall [W, K], shrunk to that of the component's crowd [J, K]."""
    component = layout.component_of_worker
    level = ((crowd.right + 1.0) / (crowd.total + 2.0))[component]
    recall = (counts.right + _PRIOR_ANSWERS * level) / (counts.total + _PRIOR_ANSWERS)
    log_odds = np.clip(np.log(recall / (1.0 - recall)), -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)
    is_tied = np.zeros(len(layout.components), bool)
    is_tied[component[layout.row_worker]] = layout.row_is_tied > 0
    options = np.where(is_tied, 0, layout.options_of_component)[component]
    return np.where(np.arange(MAX_DENSE_OPTIONS) < options[:, None], log_odds, 0.0)


def crowd_log_odds(layout: CandidateGraph, posterior: Floats) -> Floats:
    """Log odds of the expected accuracy of each component's annotations, [J]."""
    component = layout.component_of_task[layout.candidate_task]
    number = len(layout.options_of_component)
    right = np.bincount(component, posterior * layout.votes, number)
    return log_odds_of_crowd(right, np.bincount(component, layout.votes, number))


def log_odds_of_crowd(right: npt.NDArray[Any], answers: npt.NDArray[Any]) -> Floats:
    """Log odds of the share of right answers, of components [J]."""
    share = (right + 1.0) / (answers + 2.0)
    log_odds: Floats = np.log(share / (1.0 - share))
    return log_odds


def score_pairs(factors: PairFactors, task_index: IntArray, worker_index: IntArray) -> Floats:
    """Compatibility in [0, 1] of pairs, float [N]; memory is bounded however many there are.

    Raises ScoringError for a pair of two components, about which nothing is known.
    """
    apart = factors.component_of_task[task_index] != factors.component_of_worker[worker_index]
    if apart.any():
        first = int(np.flatnonzero(apart)[0])
        raise ScoringError(
            f"expected pairs within one component, got {int(apart.sum())} across, the first task "
            f"{task_index[first]} with worker {worker_index[first]}; leave them out"
        )
    score = np.empty(len(task_index))
    size = max(1, _MAX_CELLS // factors.task.shape[1])
    for start in range(0, len(score), size):
        part = slice(start, start + size)
        worker, task = worker_index[part], task_index[part]
        score[part] = (factors.worker[worker] * factors.task[task]).sum(axis=1)
    return probability_of(score)


def probability_of(log_odds: Floats) -> Floats:
    """Probabilities of log odds."""
    # tanh does not overflow where exp does.
    value: Floats = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return value
