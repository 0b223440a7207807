"""How arrays are laid out for compiled loops over vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.vectors import LANES

__all__ = ["wide", "wide_norm"]

FloatArray = npt.NDArray[np.floating[Any]]


def wide(x: FloatArray) -> FloatArray:
    """Fill up the last axis with zeros to a multiple of the lanes."""
    missing = -x.shape[-1] % LANES
    filled = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x
    return np.ascontiguousarray(filled)


def wide_norm(scale: FloatArray, shift: FloatArray) -> FloatArray:
    """Lay out a layer norm: scale, shift, and 1 / D where a lane is no filling, [3, D]."""
    share = np.full_like(scale, 1 / len(scale))
    return wide(np.stack([scale, shift, share]))
