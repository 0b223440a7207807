"""Freezes the averaged weights of a run, with read-outs and the account of how they were made."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.pretraining.calibration_head import measure_calibration
from crowdfm_core.pretraining.head_figures import figures_of, pair_figures
from crowdfm_core.pretraining.heads import fit_heads, measure_heads, measure_pairs
from crowdfm_core.pretraining.objective import Tensors
from crowdfm_core.pretraining.recipe import Recipe
from crowdfm_core.pretraining.run_files import Checkpoint, load_checkpoint, read_log
from crowdfm_core.pretraining.training import (
    CHECKPOINT_FILE,
    LOG_FILE,
    weights_to_start_from,
)
from crowdfm_core.read_outs import CALIBRATION_HEAD, PAIR_HEAD
from crowdfm_core.weights import FrozenWeights, save_weights

__all__ = ["export_run", "frozen"]

_log = logging.getLogger(__name__)


def export_run(
    run: Path,
    folder: Path,
    *,
    device: torch.device,
    head_crowds: int = 512,
    blend_with: Path | None = None,
    share: float = 0.5,
) -> FrozenWeights:
    """Write the frozen weights of the run's last checkpoint to `folder` and return them.

    The manifest's `recipe` says how they were made: settings, seed, steps, training seconds,
    commit, the last validation, and the figures of the heads on fresh crowds of the recipe.
    head_crowds: synthetic crowds that each head is fitted on, and half as many to measure it.
    blend_with: weights that the run started from; what is frozen is then share x the run's + (1 -
    share) x these, which keeps more of what the first ones know beyond the run's crowds (Wortsman
    et al. 2022, "Robust fine-tuning of zero-shot models", equation 1).
    Raises WeightsError when the run has no readable checkpoint, ConfigError where the weights to
    blend with are of another model.
    """
    state, blended = load_checkpoint(run / CHECKPOINT_FILE), {}
    if blend_with is not None:
        first, origin = weights_to_start_from(blend_with, state.recipe, state.average)
        average = {name: t.lerp(state.average[name], share) for name, t in first.items()}
        state = replace(state, average=average)
        blended = {"blended": {"share": share, "weights_sha256": origin.get("weights_sha256")}}
    average = {name: tensor.to(device) for name, tensor in state.average.items()}
    ops = TorchOps(device)
    tensors = fit_heads(state.recipe, average, ops, num_crowds=head_crowds)
    account = {
        **state.account(),
        **blended,
        "seed": state.recipe.seed,
        "commit": _commit(),
        "validation": _last_validation(run / LOG_FILE),
        "heads": _figures(state.recipe, average, tensors, ops, head_crowds),
    }
    weights = frozen(state, heads=tensors, account=account)
    path = save_weights(folder, weights)
    _log.info("wrote %s after %d steps", path, state.step)
    return weights


def frozen(
    state: Checkpoint,
    *,
    heads: dict[str, np.ndarray] | None = None,
    account: dict[str, Any] | None = None,
) -> FrozenWeights:
    """Return a run's averaged weights in the form that scores, without a file.

    Without a file there is no sha256, which seeds the option vectors: a fixed word stands in.
    """
    return FrozenWeights(
        config=state.recipe.model,
        tensors={name: t.detach().cpu().numpy() for name, t in state.average.items()},
        heads=heads or {},
        sha256="unsaved",
        recipe=account or {},
    )


def _figures(
    recipe: Recipe,
    weights: Tensors,
    heads: Mapping[str, np.ndarray],
    ops: TorchOps,
    head_crowds: int,
) -> dict[str, dict[str, Any]]:
    number = max(1, head_crowds // 2)
    measured = measure_heads(recipe, weights, heads, ops, num_crowds=number)
    figures: dict[str, dict[str, Any]] = {
        name: figures_of(each).to_mapping() for name, each in measured.items()
    }
    pairs = measure_pairs(recipe, weights, heads, ops, num_crowds=number)
    if pairs is not None:
        figures[PAIR_HEAD] = pair_figures(pairs).to_mapping()
    calibration = measure_calibration(recipe, weights, heads, num_crowds=number)
    if calibration:
        figures[CALIBRATION_HEAD] = {name: f.to_mapping() for name, f in calibration.items()}
    return figures


def _last_validation(log: Path) -> dict[str, Any]:
    validations = [record for record in read_log(log) if "validation_accuracy" in record]
    return validations[-1] if validations else {}


def _commit() -> str | None:
    """Commit of the checkout this code runs from, marked where files differ; None without one."""
    checkout = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip() or None
