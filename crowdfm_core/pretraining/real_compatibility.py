"""Compatibility of pairs on real data sets: right against wrong answers that were held out.

Letters: E annotations, T tasks, W workers, N pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

from crowdfm_core.compatibility import pair_factors, score_pairs
from crowdfm_core.evaluation.datasets import LabelledDataset
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.methods.answers import Answers
from crowdfm_core.methods.majority_vote import majority_vote
from crowdfm_core.pretraining.head_figures import area_under_curve, calibration_error, order_within
from crowdfm_core.pretraining.head_samples import hidden_annotations
from crowdfm_core.weights import FrozenWeights

__all__ = ["CompatibilityRow", "mean_compatibility", "measure_compatibility"]


@dataclass(frozen=True)
class CompatibilityRow:
    """One set: areas under the curve over unseen annotations of gold tasks, all as they come.

    worker_auc: of the worker's agreement with the majority alone; task_auc: of the share of the
    majority in the task's answers alone. order: of two workers of one task, one right and one
    wrong, how often the right one scores higher, as assignments rank them; worker_order: by the
    worker's agreement with the majority alone. calibration_error, order: see `head_figures`.
    """

    dataset: str
    pairs: int
    share_right: float
    auc: float
    worker_auc: float
    task_auc: float
    order: float
    worker_order: float
    calibration_error: float


def measure_compatibility(
    datasets: Iterable[LabelledDataset], weights: FrozenWeights, *, seed: int
) -> list[CompatibilityRow]:
    """Hide a fifth of each set's annotations, score what is hidden, and compare with truth.

    Raises ScoringError where the weights have no compatibility head.
    """
    return [_measure(dataset, weights, np.random.default_rng(seed)) for dataset in datasets]


def mean_compatibility(rows: list[CompatibilityRow]) -> CompatibilityRow:
    """Mean over the sets where every figure is defined, and the number of all pairs."""
    table = np.array([astuple(row)[2:] for row in rows], float)
    means = table[np.isfinite(table).all(axis=1)].mean(axis=0)
    return CompatibilityRow("mean", sum(row.pairs for row in rows), *map(float, means))


def _measure(
    dataset: LabelledDataset, weights: FrozenWeights, rng: np.random.Generator
) -> CompatibilityRow:
    task, worker, option = dataset.task_index, dataset.worker_index, dataset.option_index
    hidden = hidden_annotations(task, worker, rng)
    seen = ~hidden
    sizes = {"num_tasks": len(dataset.tasks), "num_workers": len(dataset.workers)}
    graph = AnnotationGraph.from_arrays(
        task[seen], worker[seen], option[seen], num_option_rows=len(dataset.options), **sizes
    )
    factors = pair_factors(weights, graph)
    votes = majority_vote(
        Answers(task[seen], worker[seen], option[seen], num_options=len(dataset.options), **sizes)
    )
    assert votes.probabilities is not None
    is_gold = np.zeros(len(dataset.tasks), bool)
    is_gold[dataset.gold_task] = True
    # A repeated pair of which one row stays is no unseen one.
    pair = task.astype(np.int64) * len(dataset.workers) + worker
    kept = hidden & is_gold[task] & ~np.isin(pair, pair[seen])
    kept &= factors.component_of_task[task] == factors.component_of_worker[worker]
    task, worker = task[kept], worker[kept]
    is_right = option[kept] == dataset.true_option()[task]
    score = score_pairs(factors, task, worker)
    return CompatibilityRow(
        dataset=dataset.name,
        pairs=len(task),
        share_right=float(is_right.mean()) if len(task) else np.nan,
        auc=area_under_curve(score, is_right),
        worker_auc=area_under_curve(votes.worker_score[worker], is_right),
        task_auc=area_under_curve(votes.probabilities.max(axis=1)[task], is_right),
        order=order_within(task, score, is_right),
        worker_order=order_within(task, votes.worker_score[worker], is_right),
        calibration_error=calibration_error(score, is_right) if len(task) else np.nan,
    )
