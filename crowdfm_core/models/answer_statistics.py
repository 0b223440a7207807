"""What the classical models say of single answers, given the present posterior of the tasks.

Letters: see candidates.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.models.operations import Array, Operations
from crowdfm_core.models.unrolled_sizes import BatchSizes

__all__ = ["CLIP", "FLOOR", "AnswerStatistics", "answer_statistics", "crowd_accuracy"]

CLIP = 10.0  # log posteriors below -10 say no more than -10 does
FLOOR = 1e-6  # keeps logarithms of shares finite


@dataclass(frozen=True)
class AnswerStatistics:
    """expected: counts n[w,o,k]; confusion and coin: log probability of the answer given the
    truth under Dawid-Skene and under the one-coin model; all [Q, 1]."""

    expected: Array
    confusion: Array
    coin: Array


def crowd_accuracy(ops: Operations, sizes: BatchSizes, pooled: Array) -> Array:
    """Share of right answers of each component [J, 1], from its pooled counts."""
    right = ops.sum_by(
        pooled * sizes.pooled_is_same, sizes.layout.component_of_pooled, len(sizes.log_options)
    )
    return (right + 1) / (sizes.component_count + 2)


def answer_statistics(
    ops: Operations, sizes: BatchSizes, smoothing: Array, expected: Array, pooled: Array
) -> AnswerStatistics:
    """Return log probabilities from the expected counts of rows [Q, 1] and of the component,
    pooled [., 1], which are their sums over all workers.

    A worker's confusion is shrunk towards the component's pooled one as if by smoothing[0]
    answers, the accuracy by smoothing[1], and the pooled confusion towards even by smoothing[2].
    """
    layout = sizes.layout
    pooled_total = ops.sum_by(pooled, layout.pooled_truth, layout.num_pooled_truths)
    kinds = ops.take(sizes.kinds_of_pooled, layout.row_pooled)
    share = (ops.take(pooled, layout.row_pooled) + smoothing[2]) / (
        ops.take(ops.take(pooled_total, layout.pooled_truth), layout.row_pooled)
        + smoothing[2] * kinds
    )
    per_truth = ops.take(
        ops.sum_by(expected, layout.row_truth, layout.num_truths), layout.row_truth
    )
    worker_total = ops.take(sizes.worker_count, layout.row_worker)
    # A tied worker has one confusion for all answers: same or other.
    count = expected + sizes.is_tied * (per_truth - expected)
    total = per_truth + sizes.is_tied * (worker_total - per_truth)
    spread = sizes.is_tied * (1 - sizes.is_same) * sizes.log_others
    confusion = (count + smoothing[0] * share) / (total + smoothing[0])
    right = ops.sum_by(expected * sizes.is_same, layout.row_worker, len(sizes.worker_count))
    crowd = crowd_accuracy(ops, sizes, pooled)
    accuracy = (right + smoothing[1] * ops.take(crowd, layout.component_of_worker)) / (
        sizes.worker_count + smoothing[1]
    )
    own = ops.take(accuracy, layout.row_worker)
    coin = sizes.is_same * own + (1 - sizes.is_same) * (1 - own)
    return AnswerStatistics(
        expected=expected,
        confusion=ops.log(confusion + FLOOR) - spread,
        coin=ops.log(coin + FLOOR) - (1 - sizes.is_same) * sizes.log_others,
    )
