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
from crowdfm_core.backends.pair_kernels import best_columns
from crowdfm_core.candidates import MAX_DENSE_OPTIONS, CandidateGraph
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.unrolled import UnrolledConfig, UnrolledModel
from crowdfm_core.read_outs import PAIR_HEAD, PREFIX, Tensors, has_pair_head, read_outs
from crowdfm_core.weights import FrozenWeights

__all__ = [
    "RANK",
    "PairFactors",
    "RankedWorkers",
    "class_skill",
    "crowd_log_odds",
    "factors_of",
    "pair_factors",
    "rank_workers",
    "score_pairs",
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
class RankedWorkers:
    """The best workers of every task, best first; equal ones by worker_index.

    rank counts from 1; compatibility is a probability in [0, 1]. A task has fewer rows than were
    asked for where its component has no more workers.
    """

    task_index: IntArray  # [N] ascending
    rank: IntArray  # [N]
    worker_index: IntArray  # [N]
    compatibility: Floats  # [N]


def pair_factors(weights: FrozenWeights, graph: AnnotationGraph) -> PairFactors:
    """Run the frozen model on one batch (CPU) and return the factors of its tasks and workers.

    Raises ScoringError where the weights have no compatibility head.
    """
    if not has_pair_head(weights.heads):
        raise ScoringError(
            "the weights have no compatibility head; export them from a run of an unrolled model "
            "with `crowdfm pretrain export`"
        )
    assert isinstance(weights.config, UnrolledConfig)  # only these have the head
    ops = NumpyOps()
    tensors = {name: ops.array(value) for name, value in weights.tensors.items()}
    layout = CandidateGraph.of(graph)
    outputs = UnrolledModel(weights.config, tensors, ops).run(layout)
    posterior = np.exp(outputs.log_posterior[:, 0].astype(np.float64))
    return factors_of(weights.heads, layout, posterior, outputs.workers, outputs.tasks)


def factors_of(
    heads: Tensors,
    layout: CandidateGraph,
    posterior: Floats,
    workers: npt.NDArray[Any],
    tasks: npt.NDArray[Any],
) -> PairFactors:
    """Factors from the posterior [C] and the embeddings of workers [W, D] and tasks [T, D]."""
    of_worker = read_outs(heads, f"{PAIR_HEAD}.worker", workers)
    of_task = read_outs(heads, f"{PAIR_HEAD}.task", tasks)
    recall, belief = class_skill(layout, posterior)
    odds = crowd_log_odds(layout, posterior)[layout.component_of_task]
    weight = float(heads[f"{PREFIX}{PAIR_HEAD}.class_skill"][0])
    ones = np.ones((len(of_worker), 1))
    return PairFactors(
        worker=np.hstack([of_worker, ones, recall]),
        # The last output of either head is its own term; ones stand opposite to it.
        task=np.hstack(
            [
                of_task[:, :-1],
                np.ones((len(of_task), 1)),
                of_task[:, -1:] + odds[:, None],
                weight * belief,
            ]
        ),
        component_of_worker=layout.component_of_worker,
        component_of_task=layout.component_of_task,
    )


def class_skill(layout: CandidateGraph, posterior: Floats) -> tuple[Floats, Floats]:
    """Log odds of each worker's recall of each class [W, K], and the tasks' posterior [T, K].

    K is MAX_DENSE_OPTIONS; zeros stand for options that a project lacks, and throughout tied
    components, whose classes are not told apart.
    """
    num_options = MAX_DENSE_OPTIONS
    belief = np.zeros((len(layout.task_is_tied), num_options))
    kept = ~layout.task_is_tied[layout.candidate_task]
    task = layout.candidate_task[kept]
    first = layout.graph.task_option_start[task]
    belief[task, layout.candidate_option[kept] - first] = posterior[kept]

    ops = NumpyOps(np.float64)
    expected = ops.candidates_to_rows(ops.array(posterior[:, None]), layout)[:, 0]
    row = np.flatnonzero(layout.row_is_tied == 0)
    place = row - layout.row_start[layout.row_pair[row]]
    worker = layout.row_worker[row]
    num_workers = len(layout.component_of_worker)

    def of_class(values: npt.NDArray[Any]) -> Floats:
        cell = worker * num_options + place
        sums = np.bincount(cell, values, num_workers * num_options)
        return sums.astype(np.float64).reshape(num_workers, num_options)

    total = of_class(expected[row])
    right = of_class(expected[row] * layout.row_is_same[row])

    component = layout.component_of_worker
    of_crowd = np.zeros((2, len(layout.options_of_component), num_options))
    np.add.at(of_crowd[0], component, right)
    np.add.at(of_crowd[1], component, total)
    crowd = ((of_crowd[0] + 1.0) / (of_crowd[1] + 2.0))[component]
    recall = (right + _PRIOR_ANSWERS * crowd) / (total + _PRIOR_ANSWERS)
    log_odds = np.clip(np.log(recall / (1.0 - recall)), -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)
    options = layout.options_of_component[component]
    exists = ~_is_tied(layout)[component, None] & (np.arange(num_options) < options[:, None])
    return np.where(exists, log_odds, 0.0), belief


def crowd_log_odds(layout: CandidateGraph, posterior: Floats) -> Floats:
    """Log odds of the expected accuracy of each component's annotations, [J]."""
    own = posterior * layout.votes
    component = layout.component_of_task[layout.candidate_task]
    number = len(layout.options_of_component)
    right = np.bincount(component, own, number) + 1.0
    share = right / (np.bincount(component, layout.votes, number) + 2.0)
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
    return _probability(score)


def rank_workers(
    factors: PairFactors,
    graph: AnnotationGraph,
    *,
    top: int,
    max_cells: int = _MAX_CELLS,
) -> RankedWorkers:
    """The `top` most compatible workers of every task among those who have not answered it.

    At most `max_cells` scores are held at once (one task's, if it has more workers). Raises
    ScoringError unless top >= 1.
    """
    if top < 1:
        raise ScoringError(f"expected top >= 1, got {top}")
    ops = NumpyOps(np.float64)
    num_tasks = len(factors.task)
    chosen = np.full((num_tasks, top), -1, np.int64)
    worker_order = np.argsort(factors.component_of_worker, kind="stable")
    task_order = np.argsort(factors.component_of_task, kind="stable")
    components = np.unique(factors.component_of_task)
    worker_start, worker_end = _ranges(factors.component_of_worker[worker_order], components)
    task_start, task_end = _ranges(factors.component_of_task[task_order], components)
    place = np.empty(len(worker_order), np.int64)  # of a worker among those of its component
    for first, last in zip(worker_start, worker_end, strict=True):
        place[worker_order[first:last]] = np.arange(last - first)
    side = graph.tasks
    answered_start = side.entry_start[side.pair_start]
    for number in range(len(components)):
        workers = worker_order[worker_start[number] : worker_end[number]]
        if not len(workers):
            continue  # a task without annotations
        tasks = task_order[task_start[number] : task_end[number]]
        facing = np.ascontiguousarray(factors.worker[workers].T)
        size = max(1, max_cells // len(workers))
        for start in range(0, len(tasks), size):
            part = tasks[start : start + size]
            score = ops.rows_times(factors.task[part], facing)
            for row, task in enumerate(part):
                answered = side.neighbour[answered_start[task] : answered_start[task + 1]]
                score[row, place[answered]] = -np.inf
            best = best_columns(score, top)
            chosen[part] = np.where(best >= 0, workers[best], -1)
    task_index, column = np.nonzero(chosen >= 0)
    worker_index = chosen[task_index, column]
    return RankedWorkers(
        task_index=task_index,
        rank=column + 1,
        worker_index=worker_index,
        compatibility=score_pairs(factors, task_index, worker_index),
    )


def _is_tied(layout: CandidateGraph) -> npt.NDArray[np.bool_]:
    tied = np.zeros(len(layout.options_of_component), bool)
    tied[layout.component_of_task] = layout.task_is_tied
    return tied


def _ranges(ordered: IntArray, values: IntArray) -> tuple[IntArray, IntArray]:
    return np.searchsorted(ordered, values), np.searchsorted(ordered, values, side="right")


def _probability(log_odds: Floats) -> Floats:
    # tanh does not overflow where exp does.
    value: Floats = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return value
