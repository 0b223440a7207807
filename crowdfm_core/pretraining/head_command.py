"""`crowdfm pretrain heads`: what the heads of frozen weights are worth, synthetic and real; and
weights that get a head which calibrates them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.errors import ConfigError
from crowdfm_core.evaluation import read_datasets
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.pretraining.calibration_head import fit_calibration, measure_calibration
from crowdfm_core.pretraining.head_report import (
    calibration_table,
    plot_heads,
    real_compatibility_table,
    real_table,
    synthetic_report,
)
from crowdfm_core.pretraining.heads import HeadEstimates, measure_heads, measure_pairs
from crowdfm_core.pretraining.real_abilities import measure_abilities
from crowdfm_core.pretraining.real_compatibility import measure_compatibility
from crowdfm_core.pretraining.recipe import Recipe, read_recipe, recipe_from_mapping
from crowdfm_core.read_outs import CALIBRATION_HEAD, has_pair_head
from crowdfm_core.scoring import Scorer
from crowdfm_core.weights import FrozenWeights, load_weights, save_weights

__all__ = ["calibrate_weights", "report_heads"]


def calibrate_weights(path: Path, out: Path, *, head_crowds: int) -> None:
    """Write the frozen weights at `path` to `out` with a calibration head fitted anew on crowds of
    the recipe that they were trained with; every other tensor stays as it is, bit by bit.

    head_crowds: as in `export_run`. Raises ConfigError where the weights do not say how they were
    trained, or are not of the unrolled architecture.
    """
    weights = load_weights(path)
    recipe = _own_recipe(weights)
    if recipe is None or not isinstance(recipe.model, UnrolledConfig):
        problem = f"{path}: expected weights of an unrolled model with the recipe of their training"
        raise ConfigError([problem], where="--calibrate")
    tensors = {name: torch.as_tensor(t) for name, t in weights.tensors.items()}
    head = fit_calibration(recipe, tensors, num_crowds=head_crowds)
    number = max(1, head_crowds // 2)
    measured = measure_calibration(recipe, tensors, head, num_crowds=number)
    figures = {name: each.to_mapping() for name, each in measured.items()}
    of_heads = {**weights.recipe.get("heads", {}), CALIBRATION_HEAD: figures}
    account = {**weights.recipe, "heads": of_heads}
    save_weights(out, replace(weights, heads={**weights.heads, **head}, recipe=account))


def report_heads(
    path: Path,
    *,
    recipes: list[Path],
    data: Path | None,
    picture: Path | None,
    num_crowds: int,
    least_gold: int,
    device: torch.device,
) -> str:
    """Markdown on the heads of the frozen weights at `path`; writes the scatter plots too.

    Populations are the recipe that the weights were trained with and those of `recipes`, each with
    `num_crowds` fresh crowds; `data` is a folder of real sets. Raises ConfigError where no
    population and no data are known.
    """
    weights = load_weights(path)
    populations = [_own_recipe(weights), *(_population(weights, each) for each in recipes)]
    tensors = {name: torch.as_tensor(t, device=device) for name, t in weights.tensors.items()}
    ops = TorchOps(device)
    parts, estimates = [], {}
    for recipe in populations:
        if recipe is None:
            continue
        measured = measure_heads(recipe, tensors, weights.heads, ops, num_crowds=num_crowds)
        pairs = measure_pairs(recipe, tensors, weights.heads, ops, num_crowds=num_crowds)
        mechanisms = [mechanism.name for mechanism in recipe.mechanisms]
        parts.append(synthetic_report(recipe.name, measured, pairs, mechanisms))
        calibration = measure_calibration(recipe, tensors, weights.heads, num_crowds=num_crowds)
        if calibration:
            parts.append(calibration_table(calibration))
        estimates[recipe.name] = measured
    if data is not None:
        scorer = Scorer(weights, device=str(device))
        datasets = read_datasets(data)
        rows = measure_abilities(datasets, scorer, least_gold=least_gold)
        parts.append(real_table(rows, least_gold=least_gold))
        if has_pair_head(weights.heads):
            found = measure_compatibility(datasets, weights, seed=1)
            parts.append(real_compatibility_table(found))
    if not parts:
        problem = f"{path} does not say how it was trained; give --recipe or --data"
        raise ConfigError([problem], where="heads")
    if picture is not None:
        _plot(estimates, picture)
    return "\n".join(parts)


def _plot(estimates: dict[str, dict[str, HeadEstimates]], picture: Path) -> None:
    drawn = {name: each for name, each in estimates.items() if each}
    if not drawn:
        problem = "no head was measured on synthetic crowds; give --recipe"
        raise ConfigError([problem], where="--plot")
    plot_heads(drawn, picture)


def _own_recipe(weights: FrozenWeights) -> Recipe | None:
    settings = weights.recipe.get("settings")
    return None if settings is None else recipe_from_mapping(settings, where="manifest")


def _population(weights: FrozenWeights, path: Path) -> Recipe:
    """The crowds of a recipe, for the model of the weights."""
    return replace(read_recipe(path), model=weights.config)
