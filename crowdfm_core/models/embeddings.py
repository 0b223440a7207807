"""What the read-outs of a frozen unrolled model see of every worker and every task.

States of the last layer, averaged, beside plain statistics of the last posterior: how often a
worker is right, how much more often a task is answered wrongly than its workers would lead to
expect, and the same of the whole component, which says how far to trust a small count.

What a component's parts have to add up stands in functions of its own (`last_sums`,
`worker_spread`, `task_spread`). Letters: see candidates.py; D width.
"""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.models.answer_statistics import CLIP, AnswerStatistics, crowd_accuracy
from crowdfm_core.models.operations import Array, Operations
from crowdfm_core.models.unrolled_sizes import BatchSizes
from crowdfm_core.models.unrolled_states import TaskStates

__all__ = [
    "TASK_SCALARS",
    "WORKER_SCALARS",
    "LastSums",
    "TaskFacts",
    "WorkerFacts",
    "embed_tasks",
    "embed_workers",
    "last_sums",
    "row_features",
    "task_facts",
    "task_spread",
    "worker_facts",
    "worker_spread",
]

WORKER_SCALARS = 14  # beside 2 D
TASK_SCALARS = 26  # beside 2 D

_EDGE = 1e-4  # keeps log odds of shares finite
_PRIOR_ANSWERS = 4.0  # of the crowd's accuracy, added to a worker's own answers
_PRIOR_VOTES = 2.0  # of the expected accuracy, added to a task's answers


@dataclass(frozen=True)
class LastSums:
    """Plain sums of the last posterior p and the vote shares v.

    rows [Q, 4]: of p, p squared, v and v squared over each row's annotations; groups [I, 2]: of
    p x votes and p x answers over the tasks of a component, per option.
    """

    rows: Array
    groups: Array


@dataclass(frozen=True)
class WorkerFacts:
    """statistics of the last posterior; how many answers of each worker are right [W, 1], and
    which share, shrunk towards that of the crowd [J, 1]; recall of each row [Q, 1]."""

    statistics: AnswerStatistics
    right: Array
    crowd: Array
    accuracy: Array
    recall: Array


@dataclass(frozen=True)
class TaskFacts:
    """What the answers of each task say about it: `means` [T, 7] of its workers' accuracies where
    they answered, and what follows from them, [T, 1] each (lack: three of them)."""

    means: Array
    entropy: Array
    surprise: Array
    class_surprise: Array
    overdispersion: Array
    lack: tuple[Array, Array, Array]


def last_sums(ops: Operations, sizes: BatchSizes, posterior: Array) -> LastSums:
    """Sum the last posterior [C, 1] by row and by option."""
    layout, share = sizes.layout, sizes.vote_share
    of_row = ops.concat([posterior, posterior**2, share, share**2])
    answers = ops.take(sizes.answers, layout.candidate_task)
    of_group = ops.concat([posterior * sizes.votes, posterior * answers])
    return LastSums(
        rows=ops.candidates_to_rows(of_row, layout),
        groups=ops.sum_by(of_group, layout.candidate_group, len(layout.component_of_group)),
    )


def worker_facts(
    ops: Operations, sizes: BatchSizes, statistics: AnswerStatistics, pooled: Array
) -> WorkerFacts:
    """Return what is known of the workers; pooled [., 1]: expected counts of the component."""
    layout = sizes.layout
    right = ops.sum_by(
        statistics.expected * sizes.is_same, layout.row_worker, len(sizes.worker_count)
    )
    crowd = crowd_accuracy(ops, sizes, pooled)
    prior = _PRIOR_ANSWERS * ops.take(crowd, layout.component_of_worker)
    accuracy = (right + prior) / (sizes.worker_count + _PRIOR_ANSWERS)
    # Smoothed share of right answers on the row's class where it is the answer, else 0; where
    # projects are tied, the worker's accuracy.
    recall = ops.exp(statistics.confusion)
    own = ops.take(accuracy, layout.row_worker)
    recall = sizes.is_same * (recall + sizes.is_tied * (own - recall))
    return WorkerFacts(statistics, right, crowd, accuracy, recall)


def worker_spread(ops: Operations, sizes: BatchSizes, facts: WorkerFacts) -> Array:
    """Sums over the workers of each component, [J, 2]."""
    log_odds = _log_odds(ops, facts.accuracy)
    squares = ops.concat([log_odds, log_odds**2])
    return ops.sum_by(squares, sizes.layout.component_of_worker, len(sizes.log_options))


def embed_workers(
    ops: Operations,
    sizes: BatchSizes,
    facts: WorkerFacts,
    *,
    rows: Array,
    sums: Array,
    pooled: Array,
    spread: Array,
) -> Array:
    """Embeddings of all workers, [W, 2 D + WORKER_SCALARS].

    rows [Q, D]: normalised states; sums [Q, 4]: of `LastSums`; pooled as in `worker_facts`;
    spread: from `worker_spread`, of the whole component.
    """
    layout, component = sizes.layout, sizes.layout.component_of_worker
    num_workers = len(sizes.worker_count)

    def of_worker(values: Array) -> Array:
        return ops.sum_by(values, layout.row_worker, num_workers)

    weight = _class_weight(ops, sizes, pooled)
    expected = facts.statistics.expected
    return ops.concat(
        [
            of_worker(rows * sizes.is_same * sizes.row_count) / sizes.worker_count,
            of_worker(rows * expected) / sizes.worker_count,
            _log_odds(ops, (facts.right + 1) / (sizes.worker_count + 2)),
            sizes.log_worker_count,
            _log_odds(ops, facts.accuracy),
            ops.take(_log_odds(ops, facts.crowd), component),
            ops.take(sizes.log_options, component),
            _log_odds(ops, of_worker(facts.recall * weight)),
            # How certain their tasks are, and how far others agree with them and with each other.
            _log_odds(ops, of_worker(sums[:, 1:2]) / sizes.worker_count),
            _log_odds(ops, of_worker(sums[:, 2:3] * sizes.is_same) / sizes.worker_count),
            _log_odds(ops, of_worker(sums[:, 3:]) / sizes.worker_count),
            ops.take(spread / sizes.component_workers, component),
            ops.take(sizes.log_component, component),
        ]
    )


def row_features(ops: Operations, sizes: BatchSizes, facts: WorkerFacts) -> Array:
    """What a task is told of a worker, per row, [Q, 3]: accuracy, that on the candidate's class
    (wherever they answered what), log odds of the first."""
    layout = sizes.layout
    own = ops.take(facts.accuracy, layout.row_worker)
    dense = facts.recall * (1 - sizes.is_tied)
    on_class = ops.take(ops.sum_by(dense, layout.row_truth, layout.num_truths), layout.row_truth)
    return ops.concat([own, on_class + sizes.is_tied * own, _log_odds(ops, own)])


def task_facts(
    ops: Operations, sizes: BatchSizes, tasks: TaskStates, features: Array, crowd: Array
) -> TaskFacts:
    """Return what is known of the tasks; features [Q, 3]: from `row_features`; crowd [J, 1]."""
    layout = sizes.layout
    sums = ops.rows_to_candidates(
        ops.concat([features, features * sizes.is_same, sizes.is_same]), layout
    )
    means = _of_task(ops, sizes, sums, tasks.posterior) / sizes.answers
    by_worker, by_class, was_right = means[:, :1], means[:, 1:2], means[:, 6:]
    surprise, class_surprise = was_right - by_worker, was_right - by_class

    def lack(expected: Array) -> Array:
        shrunk = (was_right * sizes.answers + _PRIOR_VOTES * expected) / (
            sizes.answers + _PRIOR_VOTES
        )
        return _log_odds(ops, expected) - _log_odds(ops, shrunk)

    surprisal = -ops.at_least(tasks.log_posterior, -CLIP)
    return TaskFacts(
        means=means,
        entropy=_of_task(ops, sizes, surprisal, tasks.posterior),
        surprise=surprise,
        class_surprise=class_surprise,
        overdispersion=surprise * surprise * sizes.answers / (by_worker * (1 - by_worker) + 0.05),
        lack=(lack(by_worker), lack(by_class), lack(ops.take(crowd, layout.component_of_task))),
    )


def task_spread(ops: Operations, sizes: BatchSizes, facts: TaskFacts) -> Array:
    """Sums over the tasks of each component, [J, 5]."""
    spread = [
        facts.entropy,
        facts.means[:, 6:],
        facts.surprise * facts.surprise,
        facts.overdispersion,
        facts.lack[0] ** 2,
    ]
    component = sizes.layout.component_of_task
    return ops.sum_by(ops.concat(spread), component, len(sizes.log_options))


def embed_tasks(
    ops: Operations,
    sizes: BatchSizes,
    tasks: TaskStates,
    facts: TaskFacts,
    *,
    normed: Array,
    groups: Array,
    crowd: Array,
    spread: Array,
) -> Array:
    """Embeddings of all tasks, [T, 2 D + TASK_SCALARS].

    normed [C, D]: normalised states; groups: of `LastSums`, of the whole component; crowd [J, 1];
    spread: from `task_spread`, of the whole component.
    """
    layout, component = sizes.layout, sizes.layout.component_of_task
    posterior = tasks.posterior
    # Share of right answers on tasks of the candidate's class.
    recall = ops.take((groups[:, :1] + 0.5) / (groups[:, 1:] + 1), layout.candidate_group)
    return ops.concat(
        [
            _of_task(ops, sizes, normed, posterior),
            _of_task(ops, sizes, normed, ops.take(1 / sizes.candidates, layout.candidate_task)),
            facts.entropy,
            _of_task(ops, sizes, sizes.vote_share, posterior),
            _of_task(ops, sizes, sizes.vote_share, sizes.vote_share),
            sizes.log_answers,
            sizes.log_task_options,
            facts.means[:, :6],
            facts.surprise,
            facts.class_surprise,
            facts.surprise * sizes.answers**0.5,
            *facts.lack,
            _log_odds(ops, _of_task(ops, sizes, recall, posterior)),
            ops.take(_log_odds(ops, crowd), component),
            ops.take(spread / sizes.component_tasks, component),
            ops.take(sizes.log_component, component)[:, :2],
        ]
    )


def _of_task(ops: Operations, sizes: BatchSizes, candidates: Array, weight: Array) -> Array:
    return ops.sum_runs(candidates, weight, sizes.layout.candidate_start)


def _log_odds(ops: Operations, share: Array) -> Array:
    return ops.log((share + _EDGE) / (1 - share + _EDGE))


def _class_weight(ops: Operations, sizes: BatchSizes, pooled: Array) -> Array:
    """Share of the component's annotations whose task is of the row's class, [Q, 1]; where
    projects are tied, share of the worker's annotations that are of the row's answer."""
    layout = sizes.layout
    total = ops.sum_by(pooled, layout.pooled_truth, layout.num_pooled_truths)
    share = ops.take(ops.take(total, layout.pooled_truth), layout.row_pooled)
    share = share / ops.take(sizes.component_count, sizes.component_of_row)
    own = sizes.row_count / ops.take(sizes.worker_count, layout.row_worker)
    return share + sizes.is_tied * (own - share)
