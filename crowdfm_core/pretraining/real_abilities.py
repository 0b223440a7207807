"""Predicted ability against workers' accuracy on known truth, on real data sets.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import ScoringError
from crowdfm_core.evaluation.datasets import LabelledDataset, answers_of, batch_of
from crowdfm_core.methods.answers import Answers
from crowdfm_core.methods.registry import aggregate
from crowdfm_core.pretraining.head_figures import spearman
from crowdfm_core.scoring import Scorer

__all__ = ["AbilityRow", "confusion_trace", "mean_row", "measure_abilities"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AbilityRow:
    """Rank correlations in [-1, 1] with the workers' accuracy on one set; NaN where undefined.

    workers: how many have enough annotations of gold tasks.
    """

    dataset: str
    workers: int
    ability: float
    expected_accuracy: float
    majority_agreement: float
    confusion_trace: float


def measure_abilities(
    datasets: Iterable[LabelledDataset], scorer: Scorer, *, least_gold: int
) -> list[AbilityRow]:
    """Measure every set over its workers with at least `least_gold` annotations of gold tasks."""
    return [_measure(dataset, scorer, least_gold) for dataset in datasets]


def mean_row(rows: list[AbilityRow]) -> AbilityRow:
    """Mean over the sets where every column is defined, and the number of all workers."""
    names = [field.name for field in fields(AbilityRow)][2:]
    table = np.array([[getattr(row, name) for name in names] for row in rows])
    complete = table[np.isfinite(table).all(axis=1)]
    means = complete.mean(axis=0) if len(complete) else np.full(len(names), np.nan)
    workers = sum(row.workers for row in rows)
    return AbilityRow("mean", workers, **dict(zip(names, map(float, means), strict=True)))


def confusion_trace(answers: Answers, posterior: Floats) -> Floats:
    """Mean over options of a worker's expected recall, [W], from a posterior [T, K].

    It is the trace, divided by K, of the confusion matrix of Dawid and Skene; 1 / K stands for
    the recall of an option that none of the worker's tasks is believed to have.
    """
    shape = (answers.num_workers, answers.num_options)
    total, right = np.zeros(shape), np.zeros(shape)
    belief = posterior[answers.task_index]
    np.add.at(total, answers.worker_index, belief)
    own = belief[np.arange(len(belief)), answers.option_index]
    np.add.at(right, (answers.worker_index, answers.option_index), own)
    known = total > 1e-9
    recall = np.where(known, right / np.where(known, total, 1.0), 1.0 / answers.num_options)
    trace: Floats = recall.mean(axis=1)
    return trace


def _measure(dataset: LabelledDataset, scorer: Scorer, least_gold: int) -> AbilityRow:
    answers = answers_of(dataset)
    is_gold = np.zeros(len(dataset.tasks), bool)
    is_gold[dataset.gold_task] = True
    of_gold = is_gold[dataset.task_index]
    right = dataset.option_index == dataset.true_option()[dataset.task_index]
    count = np.bincount(dataset.worker_index, of_gold, len(dataset.workers))
    num_right = np.bincount(dataset.worker_index, right & of_gold, len(dataset.workers))
    accuracy = num_right / np.maximum(count, 1)
    enough = count >= least_gold

    scored = scorer.score(batch_of(dataset))
    majority = aggregate("majority_vote", answers).worker_score

    def against(values: npt.NDArray[Any]) -> float:
        if not np.isfinite(values[enough]).all():
            return float("nan")
        return spearman(values[enough], accuracy[enough])

    return AbilityRow(
        dataset=dataset.name,
        workers=int(enough.sum()),
        ability=against(scored.ability),
        expected_accuracy=against(scored.expected_accuracy),
        majority_agreement=against(majority),
        confusion_trace=against(_dawid_skene_trace(answers)),
    )


def _dawid_skene_trace(answers: Answers) -> Floats:
    try:
        result = aggregate("dawid_skene", answers)
    except ScoringError:  # too many workers and options for its matrices
        return np.full(answers.num_workers, np.nan)
    assert result.probabilities is not None
    return confusion_trace(answers, result.probabilities)
