"""How arrays are laid out for compiled loops over vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.vectors import LANES

__all__ = ["wide"]

FloatArray = npt.NDArray[np.floating[Any]]


def wide(x: FloatArray) -> FloatArray:
    """Fill up the last axis with zeros to a multiple of the lanes."""
    missing = -x.shape[-1] % LANES
    filled = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x
    return np.ascontiguousarray(filled)
