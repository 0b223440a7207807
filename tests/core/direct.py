"""Equations 4 to 10 written out literally, per annotation: the second route for the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.models.attention import AttentionConfig

Array = npt.NDArray[np.float64]


def direct_forward(
    config: AttentionConfig,
    tensors: Mapping[str, npt.NDArray[Any]],
    task: npt.NDArray[Any],
    worker: npt.NDArray[Any],
    option: npt.NDArray[Any],
    options: Array,
    *,
    num_tasks: int,
    num_workers: int,
) -> tuple[Array, Array, Array]:
    """Return logits [T, K], worker embeddings [W, D] and task embeddings [T, D]."""
    z_w = np.tile(tensors["initial.worker"], (num_workers, 1)).astype(np.float64)
    z_t = np.tile(tensors["initial.task"], (num_tasks, 1)).astype(np.float64)
    for layer in range(config.layers):
        h = np.concatenate([z_w[worker], z_t[task], options[option]], axis=1)
        new_w = _side(config, tensors, "worker", layer, h, worker, z_w)
        z_t = _side(config, tensors, "task", layer, h, task, z_t)
        z_w = new_w
    pairs = np.concatenate(
        [
            np.repeat(z_t[:, None], len(options), 1),
            np.repeat(options[None], num_tasks, 0),
        ],
        axis=2,
    )
    hidden = pairs @ tensors["classifier.hidden.weight"].T + tensors["classifier.hidden.bias"]
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    logits = hidden @ tensors["classifier.output.weight"] + tensors["classifier.output.bias"]
    return logits, z_w, z_t


def _side(
    config: AttentionConfig,
    tensors: Mapping[str, npt.NDArray[Any]],
    side: str,
    layer: int,
    h: Array,
    centre: npt.NDArray[Any],
    state: Array,
) -> Array:
    def linear(name: str, x: Array) -> Array:
        weight = tensors[f"{side}.{name}.weight"][layer].astype(np.float64)
        out: Array = x @ weight.T + tensors[f"{side}.{name}.bias"][layer]
        return out

    shape = (len(h), config.heads, config.width)
    q, k, v = (linear(name, h).reshape(shape) for name in ("query", "key", "value"))
    score = (q * k).sum(-1) / math.sqrt(config.width)
    new = state.copy()
    for node in range(len(state)):
        rows = centre == node
        if rows.any():
            if config.aggregation == "mean":
                weight = np.full((rows.sum(), config.heads), 1 / rows.sum())
            else:
                weight = np.exp(score[rows] - score[rows].max(0))
                weight /= weight.sum(0)
            message = (weight[..., None] * v[rows]).reshape(rows.sum(), -1)
            bias = tensors[f"{side}.output.bias"][layer]
            times = {
                "per_annotation": rows.sum(),
                "log_annotations": math.log1p(rows.sum()),
                "once": 1,
            }[config.output_bias]
            new[node] += linear("output", message).sum(0) + (times - rows.sum()) * bias
    centred = new - new.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    out: Array = normal * tensors["norm.scale"] + tensors["norm.shift"]
    return out
