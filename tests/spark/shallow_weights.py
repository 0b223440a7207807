"""The default model with fewer layers, where what the layers make of it does not matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crowdfm_core.weights import FrozenWeights, load_weights, save_weights

__all__ = ["save_shallow_weights"]

_LAYERS = 2  # of eight


def save_shallow_weights(folder: Path) -> FrozenWeights:
    """Write weights that a few layers have, into an empty folder, and return them."""
    weights = load_weights()
    config = replace(weights.config, layers=_LAYERS)
    tensors = {
        name: weights.tensors[name][tuple(map(slice, shape))]
        for name, shape in config.tensor_shapes().items()
    }
    shallow = replace(weights, config=config, tensors=tensors)
    save_weights(folder, shallow)
    return shallow
