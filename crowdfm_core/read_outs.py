"""Heads on a frozen encoder: from an embedding to ability, difficulty, or factors of a pair; and
from features of a component to how sure the model may be.

A head is linear, or has one hidden layer: value = f(x) @ weight + bias with f(x) = x or
relu(x @ hidden.weight + hidden.bias). Letters: N rows, D width of the embedding, F hidden width,
R outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.numpy_backend import NumpyOps

__all__ = [
    "CALIBRATION_FEATURES",
    "CALIBRATION_HEAD",
    "PAIR_HEAD",
    "PREFIX",
    "Tensors",
    "has_head",
    "has_pair_head",
    "head_shapes",
    "pair_head_shapes",
    "read_out",
    "read_outs",
]

PREFIX = "heads."  # of the names of all tensors of heads
PAIR_HEAD = "compatibility"  # see crowdfm_core/compatibility.py
CALIBRATION_HEAD = "calibration"  # see crowdfm_core/calibration.py
CALIBRATION_FEATURES = 5  # that it sees of a component

Floats = npt.NDArray[np.float64]
Tensors = Mapping[str, npt.NDArray[Any]]


def read_out(heads: Tensors, name: str, embeddings: npt.NDArray[Any]) -> Floats:
    """One value per row of embeddings [N, D], float [N]; NaN where the weights lack the head.

    A row's value does not depend on the other rows, to the last bit.
    """
    if not has_head(heads, name):
        return np.full(len(embeddings), np.nan)
    weight, bias = _float(heads, f"{name}.weight"), _float(heads, f"{name}.bias")
    if f"{PREFIX}{name}.hidden.weight" not in heads:
        # Summed row by row: a product with a vector adds up in an order that depends on all rows.
        linear: Floats = (np.asarray(embeddings, np.float64) * weight).sum(-1) + bias
        return linear
    ops, hidden = NumpyOps(np.float64), f"{name}.hidden"
    hidden_weight, hidden_bias = _float(heads, f"{hidden}.weight"), _float(heads, f"{hidden}.bias")
    columns: list[npt.NDArray[Any]] = [np.asarray(embeddings, np.float64)]
    value = ops.two_layers(columns, [], hidden_weight, hidden_bias, weight[:, None], bias)
    return np.asarray(value[:, 0], np.float64)


def read_outs(heads: Tensors, name: str, embeddings: npt.NDArray[Any]) -> Floats:
    """R values per row of embeddings [N, D], float [N, R], from a head of several outputs."""
    weight = heads[f"{PREFIX}{name}.weight"].astype(np.float64)
    hidden = _hidden(heads, name, embeddings)
    value = NumpyOps(np.float64).rows_times(hidden, weight) + heads[f"{PREFIX}{name}.bias"]
    return np.asarray(value, np.float64)


def head_shapes(
    heads: Tensors, name: str, *, width: int, outputs: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Name -> shape that the tensors of one head are to have, given those that are there.

    width: of its embedding; outputs: R, or None for one value. Empty without the head.
    """
    if not has_head(heads, name):
        return {}
    name = f"{PREFIX}{name}"
    shapes: dict[str, tuple[int, ...]] = {}
    if f"{name}.hidden.bias" in heads:
        hidden = int(heads[f"{name}.hidden.bias"].size)
        shapes = {f"{name}.hidden.weight": (width, hidden), f"{name}.hidden.bias": (hidden,)}
        width = hidden
    many = () if outputs is None else (outputs,)
    return {**shapes, f"{name}.weight": (width, *many), f"{name}.bias": many or (1,)}


def has_head(heads: Tensors, name: str) -> bool:
    """Whether there is a head of that name on single embeddings."""
    return f"{PREFIX}{name}.weight" in heads


def has_pair_head(heads: Tensors) -> bool:
    """Whether there is a head on pairs of a worker and a task."""
    return f"{PREFIX}{PAIR_HEAD}.class_skill" in heads


def pair_head_shapes(heads: Tensors, widths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """As `head_shapes`, of the head on pairs; widths: of the embeddings that ability (workers)
    and difficulty (tasks) are read from."""
    name = f"{PREFIX}{PAIR_HEAD}"
    if not has_pair_head(heads):
        return {}
    outputs = int(heads[f"{name}.worker.bias"].size) if f"{name}.worker.bias" in heads else 1
    shapes: dict[str, tuple[int, ...]] = {f"{name}.class_skill": (1,)}
    for side, embedding in (("worker", "ability"), ("task", "difficulty")):
        width = widths[embedding]
        found = head_shapes(heads, f"{PAIR_HEAD}.{side}", width=width, outputs=outputs)
        shapes |= found or {f"{name}.{side}.weight": (width, outputs)}
    return shapes


def _hidden(heads: Tensors, name: str, embeddings: npt.NDArray[Any]) -> Floats:
    x = np.asarray(embeddings, np.float64)
    if f"{PREFIX}{name}.hidden.weight" not in heads:
        return x
    ops = NumpyOps(np.float64)
    product = ops.rows_times(x, heads[f"{PREFIX}{name}.hidden.weight"].astype(np.float64))
    hidden = ops.relu(product + heads[f"{PREFIX}{name}.hidden.bias"])
    return np.asarray(hidden, np.float64)


def _float(heads: Tensors, name: str) -> Floats:
    tensor: Floats = heads[f"{PREFIX}{name}"].astype(np.float64)
    return tensor
