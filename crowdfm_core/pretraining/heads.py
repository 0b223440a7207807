"""Heads on a frozen encoder: fitted on synthetic crowds, measured on as many fresh ones.

Ability and difficulty are small networks on the embeddings of workers and tasks; compatibility is
described in crowdfm_core/compatibility.py, calibration in calibration_head.py. Letters: N rows,
D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.compatibility import RANK
from crowdfm_core.models.unrolled import UnrolledConfig
from crowdfm_core.pretraining.calibration_head import fit_calibration
from crowdfm_core.pretraining.head_samples import PairRows, Rows, draw_pairs, draw_rows
from crowdfm_core.pretraining.networks import Network, train
from crowdfm_core.pretraining.objective import Tensors
from crowdfm_core.pretraining.recipe import Recipe
from crowdfm_core.read_outs import PAIR_HEAD, PREFIX, has_pair_head, read_out, read_outs

__all__ = [
    "HeadEstimates",
    "PairEstimates",
    "estimate_pairs",
    "fit_heads",
    "measure_heads",
    "measure_pairs",
]

FloatArray = npt.NDArray[np.floating[Any]]
Heads = dict[str, npt.NDArray[np.floating[Any]]]

_TEST_POSITION = 1_000_000  # far behind the positions that are fitted on
_PAIR_POSITION = 500_000  # and those of pairs, in either part
_HIDDEN, _STEPS = 64, 1200
_PAIR_HIDDEN, _PAIR_STEPS = 32, 600  # more of either fits the crowds that pairs come from


@dataclass(frozen=True)
class HeadEstimates:
    """A head's estimates of a parameter, beside the truth, on crowds it was not fitted on."""

    rows: Rows
    estimate: FloatArray  # [N]
    informed: FloatArray  # [N] of a network like it that sees counts of right answers instead


@dataclass(frozen=True)
class PairEstimates:
    """Scores of pairs that the encoder has not seen, of crowds the head was not fitted on."""

    rows: PairRows
    score: FloatArray  # [N] log odds, but for the crowd's own
    worker_term: FloatArray  # [N] what of the score is the worker's alone
    task_term: FloatArray  # [N]


@torch.no_grad()
def _rows(recipe: Recipe, weights: Tensors, ops: TorchOps, first: int, number: int) -> Any:
    return draw_rows(recipe, weights, ops, first=first, num_crowds=number)


@torch.no_grad()
def _pairs(recipe: Recipe, weights: Tensors, ops: TorchOps, first: int, number: int) -> PairRows:
    first += _PAIR_POSITION
    return draw_pairs(recipe, weights, ops, first=first, num_crowds=number)


def fit_heads(recipe: Recipe, weights: Tensors, ops: TorchOps, *, num_crowds: int = 512) -> Heads:
    """Fit every head on fresh crowds of the recipe: tensors named as in FrozenWeights.heads.

    A head is left out when no mechanism of the recipe has its parameter; compatibility and
    calibration are there for unrolled models alone.
    """
    heads: Heads = {}
    for name, rows in _rows(recipe, weights, ops, 0, num_crowds).items():
        if len(rows.truth):
            heads |= _named(name, _fit_network(rows.embeddings, rows.truth, recipe.seed))
    if isinstance(recipe.model, UnrolledConfig):
        heads |= _fit_pairs(_pairs(recipe, weights, ops, 0, num_crowds), recipe.seed)
        heads |= fit_calibration(recipe, weights, num_crowds=num_crowds)
    return heads


def measure_heads(
    recipe: Recipe,
    weights: Tensors,
    heads: Mapping[str, FloatArray],
    ops: TorchOps,
    *,
    num_crowds: int,
) -> dict[str, HeadEstimates]:
    """Estimates of ability and difficulty on fresh crowds of a recipe, which need not be the one
    that the heads were fitted on; absent parameters are left out."""
    tested = _rows(recipe, weights, ops, _TEST_POSITION, num_crowds)
    told = _rows(recipe, weights, ops, 0, num_crowds)
    estimates = {}
    for name, rows in tested.items():
        if f"{PREFIX}{name}.weight" not in heads or not len(rows.truth):
            continue
        informed = _named(name, _fit_network(told[name].known, told[name].truth, recipe.seed))
        estimates[name] = HeadEstimates(
            rows=rows,
            estimate=read_out(heads, name, rows.embeddings),
            informed=read_out(informed, name, rows.known),
        )
    return estimates


def measure_pairs(
    recipe: Recipe,
    weights: Tensors,
    heads: Mapping[str, FloatArray],
    ops: TorchOps,
    *,
    num_crowds: int,
) -> PairEstimates | None:
    """Scores of unseen pairs on fresh crowds of a recipe; None without a compatibility head."""
    if not has_pair_head(heads):
        return None
    rows = _pairs(recipe, weights, ops, _TEST_POSITION, num_crowds)
    return estimate_pairs(heads, rows)


def estimate_pairs(heads: Mapping[str, FloatArray], rows: PairRows) -> PairEstimates:
    """Scores of single pairs by the formula of crowdfm_core/compatibility.py, term by term."""
    worker = read_outs(heads, f"{PAIR_HEAD}.worker", rows.workers)
    task = read_outs(heads, f"{PAIR_HEAD}.task", rows.tasks)
    score = (worker[:, :-1] * task[:, :-1]).sum(axis=1) + worker[:, -1] + task[:, -1]
    score = score + heads[f"{PREFIX}{PAIR_HEAD}.class_skill"][0] * rows.class_skill
    return PairEstimates(rows, score, worker_term=worker[:, -1], task_term=task[:, -1])


def _fit_network(embeddings: FloatArray, truth: FloatArray, seed: int) -> dict[str, FloatArray]:
    """Least squares of truth [N] on embeddings [N, D]."""
    torch.manual_seed(seed)
    network = Network(embeddings, hidden=_HIDDEN, outputs=1)
    mean, spread = float(truth.mean()), float(truth.std()) + 1e-6
    x = torch.as_tensor(embeddings, dtype=torch.float32)
    y = torch.as_tensor((truth - mean) / spread, dtype=torch.float32)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        error: torch.Tensor = network(x[rows])[:, 0] - y[rows]
        return error.square().mean()

    train(list(network.parameters()), loss_of, num_rows=len(y), steps=_STEPS, seed=seed)
    return network.tensors(scale=spread, shift=mean)


def _fit_pairs(rows: PairRows, seed: int) -> Heads:
    """Cross-entropy of right against wrong on the pairs that balanced filtering keeps."""
    torch.manual_seed(seed)
    kept = rows.is_balanced
    sides = {"worker": rows.workers[kept], "task": rows.tasks[kept]}
    networks = {
        side: Network(embeddings, hidden=_PAIR_HIDDEN, outputs=RANK + 1)
        for side, embeddings in sides.items()
    }
    weight = torch.nn.Parameter(torch.full((1,), 0.3))
    x = {side: torch.as_tensor(value, dtype=torch.float32) for side, value in sides.items()}
    skill = torch.as_tensor(rows.class_skill[kept], dtype=torch.float32)
    is_right = torch.as_tensor(rows.is_right[kept], dtype=torch.float32)

    def loss_of(place: torch.Tensor) -> torch.Tensor:
        worker, task = (networks[side](x[side][place]) for side in ("worker", "task"))
        score = (worker[:, :-1] * task[:, :-1]).sum(1) + worker[:, -1] + task[:, -1]
        score = score + weight * skill[place]
        return torch.nn.functional.binary_cross_entropy_with_logits(score, is_right[place])

    parameters = [weight, *(p for network in networks.values() for p in network.parameters())]
    train(parameters, loss_of, num_rows=len(is_right), steps=_PAIR_STEPS, seed=seed)
    heads = {f"{PREFIX}{PAIR_HEAD}.class_skill": weight.detach().numpy().astype(np.float32)}
    for side, network in networks.items():
        heads |= _named(f"{PAIR_HEAD}.{side}", network.tensors())
    return heads


def _named(name: str, tensors: Mapping[str, FloatArray]) -> Heads:
    return {f"{PREFIX}{name}.{part}": tensor for part, tensor in tensors.items()}
