"""How far apart two samples of one statistic are.

Letters: N and M values, R real sets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["resampling_distance", "scaled_distance", "wasserstein"]

FloatArray = npt.NDArray[np.float64]

_RESAMPLES = 200


def wasserstein(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Wasserstein-1 distance of two samples [N], [M], N and M >= 1: the area between their
    distribution functions, in the unit of the values."""
    first, second = np.sort(np.asarray(first, float)), np.sort(np.asarray(second, float))
    ends = np.sort(np.concatenate([first, second]))
    below_first = np.searchsorted(first, ends[:-1], side="right") / len(first)
    below_second = np.searchsorted(second, ends[:-1], side="right") / len(second)
    return float((np.abs(below_first - below_second) * np.diff(ends)).sum())


def scaled_distance(real: FloatArray, synthetic: FloatArray) -> float:
    """Wasserstein-1 distance in standard deviations of the real values [R], so that statistics
    of different units can be averaged; unscaled if all real values are equal. NaN values are left
    out; NaN if a side has none other."""
    real, synthetic = real[np.isfinite(real)], synthetic[np.isfinite(synthetic)]
    if not len(real) or not len(synthetic):
        return float("nan")
    return wasserstein(real, synthetic) / (real.std() or 1.0)


def resampling_distance(real: FloatArray, rng: np.random.Generator) -> float:
    """Mean scaled distance between the real values [R] and R drawn from them with replacement.

    What so few sets leave open: a generator that is closer than this cannot be told from one
    that is right.
    """
    real = real[np.isfinite(real)]
    if not len(real):
        return float("nan")
    draws = rng.choice(real, (_RESAMPLES, len(real)))
    return float(np.mean([scaled_distance(real, draw) for draw in draws]))
