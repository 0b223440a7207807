"""What the read-outs of a frozen unrolled model see of every worker and every task.

States of the last layer, averaged, beside plain statistics of the last posterior: how often a
worker is right, how much more often a task is answered wrongly than its workers would lead to
expect, and the same of the whole component, which says how far to trust a small count.

Letters: see candidates.py; D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowdfm_core.models.answer_statistics import CLIP, AnswerStatistics
from crowdfm_core.models.operations import Array, Operations
from crowdfm_core.models.unrolled_sizes import BatchSizes

__all__ = ["TASK_SCALARS", "WORKER_SCALARS", "LastStates", "embed_tasks", "embed_workers"]

WORKER_SCALARS = 14  # beside 2 D
TASK_SCALARS = 26  # beside 2 D

_EDGE = 1e-4  # keeps log odds of shares finite
_PRIOR_ANSWERS = 4.0  # of the crowd's accuracy, added to a worker's own answers
_PRIOR_VOTES = 2.0  # of the expected accuracy, added to a task's answers


@dataclass(frozen=True)
class LastStates:
    """What the last layer leaves: rows [Q, D] and tasks [C, D] normalised, posterior [C, 1]."""

    rows: Array
    tasks: Array
    posterior: Array
    log_posterior: Array
    statistics: AnswerStatistics


def embed_workers(ops: Operations, sizes: BatchSizes, last: LastStates) -> Array:
    """Embeddings of all workers, [W, 2 D + WORKER_SCALARS]."""
    layout, component = sizes.layout, sizes.layout.component_of_worker
    num_workers, num_components = len(sizes.worker_count), len(sizes.log_options)

    def of_worker(rows: Array) -> Array:
        return ops.sum_by(rows, layout.row_worker, num_workers)

    expected = last.statistics.expected
    right = of_worker(expected * sizes.is_same)
    crowd, accuracy = _accuracies(ops, sizes, right)
    weight = _class_weight(ops, sizes, expected)
    squares = ops.candidates_to_rows(
        ops.concat([last.posterior**2, sizes.vote_share, sizes.vote_share**2]), layout
    )
    log_odds = _log_odds(ops, accuracy)
    workers = ops.array(np.maximum(np.bincount(component, minlength=num_components), 1)[:, None])
    spread = ops.sum_by(ops.concat([log_odds, log_odds**2]), component, num_components) / workers
    return ops.concat(
        [
            of_worker(last.rows * sizes.is_same * sizes.row_count) / sizes.worker_count,
            of_worker(last.rows * expected) / sizes.worker_count,
            _log_odds(ops, (right + 1) / (sizes.worker_count + 2)),
            sizes.log_worker_count,
            log_odds,
            ops.take(_log_odds(ops, crowd), component),
            ops.take(sizes.log_options, component),
            _log_odds(ops, of_worker(_recall(ops, sizes, last, accuracy) * weight)),
            # How certain their tasks are, and how far others agree with them and with each other.
            _log_odds(ops, of_worker(squares[:, :1]) / sizes.worker_count),
            _log_odds(ops, of_worker(squares[:, 1:2] * sizes.is_same) / sizes.worker_count),
            _log_odds(ops, of_worker(squares[:, 2:]) / sizes.worker_count),
            *_of_component(ops, sizes, component, spread),
        ]
    )


def embed_tasks(ops: Operations, sizes: BatchSizes, last: LastStates) -> Array:
    """Embeddings of all tasks, [T, 2 D + TASK_SCALARS]."""
    layout, component = sizes.layout, sizes.layout.component_of_task
    num_components = len(sizes.log_options)

    def of_task(candidates: Array) -> Array:
        return ops.sum_by(candidates, layout.candidate_task, len(sizes.answers))

    right = ops.sum_by(
        last.statistics.expected * sizes.is_same, layout.row_worker, len(sizes.worker_count)
    )
    crowd, accuracy = _accuracies(ops, sizes, right)
    crowd = ops.take(crowd, component)
    own = ops.take(accuracy, layout.row_worker)
    log_odds = _log_odds(ops, own)
    # Of the workers' accuracy on the candidate's class, wherever they answered what.
    dense = _recall(ops, sizes, last, accuracy) * (1 - sizes.is_tied)
    on_class = ops.take(ops.sum_by(dense, layout.row_truth, layout.num_truths), layout.row_truth)
    on_class = on_class + sizes.is_tied * own
    features = ops.concat([own, on_class, log_odds])
    sums = ops.rows_to_candidates(
        ops.concat([features, features * sizes.is_same, sizes.is_same]), layout
    )
    means = of_task(last.posterior * sums) / sizes.answers
    by_worker, by_class, was_right = means[:, :1], means[:, 1:2], means[:, 6:]
    surprise, class_surprise = was_right - by_worker, was_right - by_class
    lack = [
        _log_odds(ops, expected) - _log_odds(ops, _shrunk(was_right, expected, sizes.answers))
        for expected in (by_worker, by_class, crowd)
    ]
    entropy = of_task(-last.posterior * ops.at_least(last.log_posterior, -CLIP))
    squares = surprise * surprise
    overdispersion = squares * sizes.answers / (by_worker * (1 - by_worker) + 0.05)
    tasks = ops.array(np.maximum(np.bincount(component, minlength=num_components), 1)[:, None])
    spread = ops.concat([entropy, was_right, squares, overdispersion, lack[0] ** 2])
    spread = ops.sum_by(spread, component, num_components) / tasks
    recall = _recall_of_class(ops, sizes, last.posterior, sums[:, 6:])
    return ops.concat(
        [
            of_task(last.posterior * last.tasks),
            of_task(last.tasks) / sizes.candidates,
            entropy,
            of_task(sizes.vote_share * last.posterior),
            of_task(sizes.vote_share**2),
            sizes.log_answers,
            sizes.log_task_options,
            means[:, :6],
            surprise,
            class_surprise,
            surprise * sizes.answers**0.5,
            *lack,
            _log_odds(ops, of_task(last.posterior * recall)),
            _log_odds(ops, crowd),
            *_of_component(ops, sizes, component, spread)[:-1],
        ]
    )


def _log_odds(ops: Operations, share: Array) -> Array:
    return ops.log((share + _EDGE) / (1 - share + _EDGE))


def _shrunk(share: Array, expected: Array, answers: Array) -> Array:
    return (share * answers + _PRIOR_VOTES * expected) / (answers + _PRIOR_VOTES)


def _accuracies(ops: Operations, sizes: BatchSizes, right: Array) -> tuple[Array, Array]:
    """Accuracy of each component [J, 1], and of each worker shrunk towards it [W, 1]."""
    component = sizes.layout.component_of_worker
    crowd = ops.sum_by(right, component, len(sizes.log_options)) + 1
    crowd = crowd / (sizes.component_count + 2)
    prior = _PRIOR_ANSWERS * ops.take(crowd, component)
    return crowd, (right + prior) / (sizes.worker_count + _PRIOR_ANSWERS)


def _class_weight(ops: Operations, sizes: BatchSizes, expected: Array) -> Array:
    """Share of the component's annotations whose task is of the row's class, [Q, 1]; where
    projects are tied, share of the worker's annotations that are of the row's answer."""
    layout = sizes.layout
    pooled = ops.sum_by(expected, layout.row_pooled, len(layout.pooled_truth))
    total = ops.sum_by(pooled, layout.pooled_truth, layout.num_pooled_truths)
    share = ops.take(ops.take(total, layout.pooled_truth), layout.row_pooled)
    share = share / ops.take(sizes.component_count, sizes.component_of_row)
    own = sizes.row_count / ops.take(sizes.worker_count, layout.row_worker)
    return share + sizes.is_tied * (own - share)


def _recall(ops: Operations, sizes: BatchSizes, last: LastStates, accuracy: Array) -> Array:
    """Smoothed share of right answers on the row's class where it is the answer, [Q, 1], else 0;
    where projects are tied, the worker's accuracy."""
    recall = ops.exp(last.statistics.confusion)
    own = ops.take(accuracy, sizes.layout.row_worker)
    return sizes.is_same * (recall + sizes.is_tied * (own - recall))


def _recall_of_class(ops: Operations, sizes: BatchSizes, posterior: Array, votes: Array) -> Array:
    """Share of right answers on tasks of the candidate's class in its component, [C, 1]."""
    layout = sizes.layout
    answers = ops.take(sizes.answers, layout.candidate_task)
    sums = ops.sum_by(
        ops.concat([posterior * votes, posterior * answers]),
        layout.candidate_group,
        len(layout.component_of_group),
    )
    return ops.take((sums[:, :1] + 0.5) / (sums[:, 1:] + 1), layout.candidate_group)


def _of_component(
    ops: Operations, sizes: BatchSizes, component: np.ndarray, means: Array
) -> list[Array]:
    """Means over the component, and the logarithms of its tasks, workers and annotations."""
    layout, number = sizes.layout, len(sizes.log_options)
    tasks = np.log1p(np.bincount(layout.component_of_task, minlength=number))
    workers = np.log1p(np.bincount(layout.component_of_worker, minlength=number))
    logs = [
        ops.array(tasks[:, None]),
        ops.array(workers[:, None]),
        ops.log(sizes.component_count + 1),
    ]
    return [ops.take(column, component) for column in (means, *logs)]
