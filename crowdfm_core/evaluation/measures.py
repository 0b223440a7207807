"""Accuracy with shared ties, calibration and log loss of predictions on gold tasks.

Letters: G gold tasks, T tasks, K options, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crowdfm_core.evaluation.datasets import LabelledDataset
from crowdfm_core.methods.answers import MethodResult
from crowdfm_core.scoring import ScoredBatch

__all__ = [
    "CALIBRATION_BINS",
    "Prediction",
    "Reliability",
    "log_loss",
    "prediction_of_result",
    "prediction_of_scored",
    "reliability",
    "scored_credit",
]

Floats = npt.NDArray[np.float64]

CALIBRATION_BINS = 15
# Two probabilities closer than this share a task's credit; far above rounding in float32.
_TIE = 1e-6
# A true option that a method held for impossible costs as much as one of this probability.
_SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Prediction:
    """What a method says about the gold tasks of a data set, [G] each.

    credit: 1 / (number of tied labels) where the truth is one of them, else 0. probability: that
    of the label. true_probability: that of the true option, 0 where nobody ever answered it.
    """

    credit: Floats
    probability: Floats
    true_probability: Floats

    @property
    def accuracy(self) -> float:
        """Mean credit, in [0, 1]."""
        return float(self.credit.mean())


@dataclass(frozen=True)
class Reliability:
    """Gold tasks by the probability of their label, in equally wide bins of [0, 1]: how many, and
    the sums of their credits and probabilities, [B] each."""

    count: Floats
    credit: Floats
    probability: Floats

    def calibration_error(self) -> float:
        """Expected calibration error: mean over tasks of |accuracy - mean probability| of the
        task's bin, in [0, 1]."""
        return float(np.abs(self.credit - self.probability).sum() / self.count.sum())


def reliability(prediction: Prediction, *, bins: int = CALIBRATION_BINS) -> Reliability:
    """Sort predictions into bins; the upper edge belongs to a bin, as in (Guo et al., 2017)."""
    place = np.clip(np.ceil(prediction.probability * bins).astype(int) - 1, 0, bins - 1)
    return Reliability(
        count=np.bincount(place, minlength=bins).astype(np.float64),
        credit=np.bincount(place, prediction.credit, bins).astype(np.float64),
        probability=np.bincount(place, prediction.probability, bins).astype(np.float64),
    )


def log_loss(prediction: Prediction) -> float:
    """Mean of -log(probability of the truth) in nats, probabilities clipped at 1e-6 from below."""
    clipped = np.maximum(prediction.true_probability, _SMALLEST_PROBABILITY)
    return float(-np.log(clipped).mean())


def prediction_of_result(dataset: LabelledDataset, result: MethodResult) -> Prediction:
    """Judge a classical method; one without probabilities is as sure as can be of its labels."""
    probabilities = result.probabilities
    if probabilities is None:
        probabilities = (result.label[:, None] == np.arange(len(dataset.options))).astype(float)
    gold = probabilities[dataset.gold_task]
    best = gold.max(axis=1)
    known = dataset.gold_option >= 0
    true_probability = np.zeros(len(gold))
    true_probability[known] = gold[known, dataset.gold_option[known]]
    tied = (gold >= best[:, None] - _TIE).sum(axis=1)
    return Prediction(
        credit=np.where(known & (true_probability >= best - _TIE), 1.0 / tied, 0.0),
        probability=best,
        true_probability=true_probability,
    )


def prediction_of_scored(dataset: LabelledDataset, scored: ScoredBatch) -> Prediction:
    """Judge frozen weights. What the listed options leave of a task's probability is shared by
    the options that are not listed."""
    truth = dataset.true_option()
    offsets = np.asarray(scored.top_offsets)
    listed = np.diff(offsets)
    task = np.repeat(np.arange(len(truth)), listed)
    rest = 1.0 - np.bincount(task, scored.top_probability, len(truth))
    unlisted = np.maximum(len(dataset.options) - listed, 1)
    true_probability = np.where(truth >= 0, np.maximum(rest, 0.0) / unlisted, 0.0)
    hit = scored.top_option_index == truth[task]
    true_probability[task[hit]] = scored.top_probability[hit]
    return Prediction(
        credit=scored_credit(scored, truth)[dataset.gold_task],
        probability=np.asarray(scored.probability, np.float64)[dataset.gold_task],
        true_probability=true_probability[dataset.gold_task],
    )


def scored_credit(scored: ScoredBatch, true_option: npt.NDArray[np.int32]) -> Floats:
    """Credit of each task [T]: 1 / (number of options as probable as the first) where the truth
    is one of them, else 0."""
    offsets = np.asarray(scored.top_offsets)
    task = np.repeat(np.arange(len(true_option)), np.diff(offsets))
    tied = scored.top_probability >= scored.top_probability[offsets[:-1]][task] - _TIE
    count = np.bincount(task[tied], minlength=len(true_option))
    hit = tied & (scored.top_option_index == true_option[task])
    credit = np.zeros(len(true_option))
    credit[task[hit]] = 1.0 / count[task[hit]]
    return credit
