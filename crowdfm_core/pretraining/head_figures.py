"""How good heads are, in numbers: correlations, errors, and areas under curves.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.pretraining.heads import HeadEstimates, PairEstimates

__all__ = [
    "COUNTS",
    "Figures",
    "PairFigures",
    "area_under_curve",
    "by_count",
    "by_mechanism",
    "calibration_error",
    "figures_of",
    "order_within",
    "pair_figures",
    "ranks",
    "spearman",
]

FloatArray = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

# Ranges of annotations per worker or task that figures are listed for, both ends included.
COUNTS = ((1, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, 10**9))
_FEWEST_ROWS = 10  # of a crowd whose own correlation counts


@dataclass(frozen=True)
class Figures:
    """Estimates against truth, over the rows of all crowds together.

    variance: of the truth, which is the error of the best constant. *_within: mean of the
    correlations of single crowds of at least 10 rows, all that a user with one project sees.
    informed_*: of a network that sees counts of right answers by the true labels instead of the
    encoder; a yardstick and no bound, as it sees four numbers and no classes.
    """

    rows: int
    crowds: int
    pearson: float
    spearman: float
    mean_squared_error: float
    variance: float
    pearson_within: float
    spearman_within: float
    informed_pearson: float
    informed_spearman: float

    def to_mapping(self) -> dict[str, float]:
        """Plain values, rounded to four places."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class PairFigures:
    """Areas under the curve of right against wrong pairs that the encoder has not seen.

    auc: over all crowds, auc_within: mean over crowds, both on pairs as many right as wrong;
    worker_auc_within: of the worker's own term alone, task_auc_within: of the task's.
    calibration_error: over all pairs, right and wrong as they come, the mean distance of
    probability and share of right answers in ten bins of equal width; mean_probability and
    share_right of the same pairs.
    """

    pairs: int
    crowds: int
    auc: float
    auc_within: float
    worker_auc_within: float
    task_auc_within: float
    calibration_error: float
    mean_probability: float
    share_right: float

    def to_mapping(self) -> dict[str, float]:
        """Plain values, rounded to four places."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def figures_of(estimates: HeadEstimates, kept: Mask | None = None) -> Figures:
    """Figures of all rows, or of those that `kept` [N] names."""
    kept = np.ones(len(estimates.estimate), bool) if kept is None else kept
    truth, estimate = estimates.rows.truth[kept], estimates.estimate[kept]
    crowd, informed = estimates.rows.crowd[kept], estimates.informed[kept]
    return Figures(
        rows=len(truth),
        crowds=len(np.unique(crowd)),
        pearson=_pearson(estimate, truth),
        spearman=spearman(estimate, truth),
        mean_squared_error=float(np.mean((estimate - truth) ** 2)) if len(truth) else np.nan,
        variance=float(truth.var()) if len(truth) else np.nan,
        pearson_within=_within(crowd, _pearson, estimate, truth),
        spearman_within=_within(crowd, spearman, estimate, truth),
        informed_pearson=_pearson(informed, truth),
        informed_spearman=spearman(informed, truth),
    )


def by_count(estimates: HeadEstimates) -> dict[str, Figures]:
    """Figures by the number of annotations of the worker or task, where there are any rows."""
    count = estimates.rows.num_annotations
    found = {}
    for low, high in COUNTS:
        kept = (count >= low) & (count <= high)
        if kept.any():
            name = f"{low} or more" if high == COUNTS[-1][1] else f"{low} to {high}"
            found[name] = figures_of(estimates, kept)
    return found


def by_mechanism(estimates: HeadEstimates, names: list[str]) -> dict[str, Figures]:
    """Figures by the mechanism of the recipe that drew the crowd."""
    mechanism = estimates.rows.mechanism
    return {
        names[index]: figures_of(estimates, mechanism == index) for index in np.unique(mechanism)
    }


def pair_figures(estimates: PairEstimates) -> PairFigures:
    """Figures on the pairs that balanced filtering keeps, and calibration on all."""
    rows = estimates.rows
    probability = 1.0 / (1.0 + np.exp(-(estimates.score + rows.crowd_log_odds)))
    kept = rows.is_balanced
    right, crowd = rows.is_right[kept], rows.crowd[kept]

    def within(score: FloatArray) -> float:
        return _within(crowd, area_under_curve, score[kept], right)

    return PairFigures(
        pairs=int(kept.sum()),
        crowds=len(np.unique(crowd)),
        auc=area_under_curve(estimates.score[kept], right),
        auc_within=within(estimates.score),
        worker_auc_within=within(estimates.worker_term),
        task_auc_within=within(estimates.task_term),
        calibration_error=calibration_error(probability, rows.is_right),
        mean_probability=float(probability.mean()),
        share_right=float(rows.is_right.mean()),
    )


def spearman(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Rank correlation in [-1, 1]; equal values share their mean rank. NaN where either array
    has fewer than two different values."""
    return _pearson(ranks(left), ranks(right))


def ranks(values: npt.NDArray[Any]) -> FloatArray:
    """Ranks from 1, float [N]; equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    mean: FloatArray = (last - 0.5 * (count - 1))[place]
    return mean


def area_under_curve(score: npt.NDArray[Any], is_right: npt.NDArray[Any]) -> float:
    """Probability that a right row scores above a wrong one, ties counting half; NaN without
    either kind."""
    right = np.asarray(is_right, bool)
    num_right = int(right.sum())
    num_wrong = len(right) - num_right
    if not num_right or not num_wrong:
        return float("nan")
    above = ranks(score)[right].sum() - num_right * (num_right + 1) / 2
    return float(above / (num_right * num_wrong))


def order_within(group: npt.NDArray[Any], score: npt.NDArray[Any], is_right: Mask) -> float:
    """Of all pairs of a right and a wrong row of one group, the share of which the right row has
    the higher score, ties counting half; NaN without such a pair. All [N]."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order])) + 1
    above, pairs = 0.0, 0
    for rows in np.split(order, starts):
        right, wrong = score[rows][is_right[rows]], score[rows][~is_right[rows]]
        above += float((np.sign(right[:, None] - wrong) + 1).sum() / 2)
        pairs += len(right) * len(wrong)
    return above / pairs if pairs else float("nan")


def calibration_error(probability: FloatArray, is_right: Mask, *, bins: int = 10) -> float:
    """Mean over rows of |mean probability - share of right rows| in bins of equal width."""
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, probability - is_right, bins)
    return float(np.abs(gap).sum() / len(probability))


def _pearson(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return float(np.corrcoef(left, right)[0, 1])


def _within(
    crowd: npt.NDArray[Any],
    measure: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float],
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
) -> float:
    """Mean of a measure over crowds of at least 10 rows, where it is defined."""
    found: list[float] = []
    for number, rows in zip(*np.unique(crowd, return_counts=True), strict=True):
        if rows >= _FEWEST_ROWS:
            mine = crowd == number
            found.append(measure(left[mine], right[mine]))
    defined = [value for value in found if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")
