"""One line per method: means over data sets, wins over majority voting, significance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.evaluation.run import Evaluation

__all__ = ["BASELINE", "MethodSummary", "common_datasets", "has_scipy", "summarise"]

BASELINE = "majority_vote"
# Accuracies are means of credits over gold tasks; rounding lies far below one task.
_EQUAL = 1e-9


@dataclass(frozen=True)
class MethodSummary:
    """A method over the data sets on which every method was measured.

    Accuracies in [0, 1]; wins and losses: data sets with a higher and a lower accuracy than
    majority voting; p_value: of Wilcoxon's one-sided signed rank test that the method is better,
    None without scipy or where no data set differs; seconds: sum over data sets.
    """

    method: str
    num_datasets: int
    accuracy: float
    largest_range: float
    wins: int
    losses: int
    p_value: float | None
    calibration_error: float
    log_loss: float
    seconds: float


def common_datasets(evaluation: Evaluation) -> list[str]:
    """Data sets on which majority voting and every contender were measured, in their order.

    A method that failed on all of them does not count: it must not take the others' means away.
    """
    measured = [set(evaluation.of_method(c.name)) for c in evaluation.contenders]
    required = [set(evaluation.of_method(BASELINE)), *(names for names in measured if names)]
    return [d.name for d in evaluation.datasets if all(d.name in names for names in required)]


def summarise(evaluation: Evaluation) -> list[MethodSummary]:
    """Summarise every contender that was measured on the common data sets."""
    names = common_datasets(evaluation)
    baseline = evaluation.of_method(BASELINE)
    summaries = []
    for contender in evaluation.contenders:
        measured = evaluation.of_method(contender.name)
        if not names or not measured:
            continue
        rows = [measured[name] for name in names]
        gain = np.array([measured[n].accuracy - baseline[n].accuracy for n in names])
        summaries.append(
            MethodSummary(
                method=contender.name,
                num_datasets=len(names),
                accuracy=float(np.mean([row.accuracy for row in rows])),
                largest_range=max(row.accuracy_range for row in rows),
                wins=int((gain > _EQUAL).sum()),
                losses=int((gain < -_EQUAL).sum()),
                p_value=_one_sided_p(gain),
                calibration_error=float(np.mean([row.calibration_error for row in rows])),
                log_loss=float(np.mean([row.log_loss for row in rows])),
                seconds=float(np.sum([row.seconds for row in rows])),
            )
        )
    return summaries


def has_scipy() -> bool:
    """Whether the extra that p values need is installed."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        return False
    return True


def _one_sided_p(gain: npt.NDArray[Any]) -> float | None:
    if not has_scipy():
        return None
    from scipy.stats import wilcoxon

    # Differences of rounding must neither rank nor break ties.
    gain = np.round(gain, 9)
    if not gain.any():
        return None
    return float(wilcoxon(gain, alternative="greater").pvalue)
