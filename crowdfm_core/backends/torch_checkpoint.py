"""Tensors of a torch checkpoint, read without running code from the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crowdfm_core.errors import WeightsError

__all__ = ["read_tensors"]


def read_tensors(path: str) -> dict[str, npt.NDArray[Any]]:
    """Return name -> array of a checkpoint that is a table of tensors.

    Raises WeightsError when the file cannot be read or holds anything else.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises many kinds for a file that it cannot read
        raise WeightsError(f"{path}: torch cannot read it as a checkpoint ({error})") from error
    if not isinstance(state, dict) or not all(hasattr(value, "numpy") for value in state.values()):
        raise WeightsError(f"{path}: expected a table of tensors by name, got {type(state)}")
    return {name: np.asarray(value) for name, value in state.items()}
