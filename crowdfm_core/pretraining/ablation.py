"""Trains every variant of a plan on the same budget and measures all on the same crowds.

OUT/NAME/seed_N holds a variant's run, with its checkpoint, and what was measured on it. Finished
runs are neither trained nor measured again; an interrupted one goes on where it was.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.errors import ConfigError
from crowdfm_core.evaluation import classical, frozen
from crowdfm_core.evaluation.run import evaluate_folders
from crowdfm_core.pretraining import export
from crowdfm_core.pretraining.ablation_plan import Ablation, PlannedVariant, common_crowds
from crowdfm_core.pretraining.recipe import Recipe
from crowdfm_core.pretraining.run_files import Checkpoint, load_checkpoint
from crowdfm_core.pretraining.training import CHECKPOINT_FILE, train
from crowdfm_core.pretraining.validation import draw_validation_crowds, validate

__all__ = ["RunResult", "run_ablation"]

_RESULT_FILE = "result.json"
_BASELINE = "majority_vote"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """One variant with one seed; accuracies in [0, 1], real ones by data set, empty without data.

    synthetic_accuracy is the mean over mechanisms by the base recipe's shares.
    """

    variant: str
    group: str
    changes: str
    seed: int
    num_parameters: int
    steps: int
    training_seconds: float
    synthetic_accuracy: float
    synthetic_loss: float
    synthetic_majority_vote_accuracy: float
    synthetic_accuracy_of_mechanism: dict[str, float]
    real_accuracy_of_set: dict[str, float] = field(default_factory=dict)
    real_majority_vote_accuracy_of_set: dict[str, float] = field(default_factory=dict)
    real_problems: list[str] = field(default_factory=list)


def run_ablation(
    ablation: Ablation,
    out: Path,
    *,
    device: torch.device,
    data: Sequence[Path] = (),
    resume: bool = False,
    after_each: Callable[[list[RunResult]], None] = lambda results: None,
) -> list[RunResult]:
    """Train and measure all variants, seed by seed; a signal stops it, with what is finished.

    data: folders of real data sets, which only measure. after_each gets all results so far.
    Raises ConfigError where `out` holds runs and `resume` is not given, or runs of other recipes.
    """
    runs = [
        (variant, replace(variant.recipe, seed=ablation.base.seed + number))
        for number in range(ablation.num_seeds)
        for variant in ablation.variants
    ]
    if not resume:
        _refuse_old_runs(runs, out)
    results: list[RunResult] = []
    for variant, recipe in runs:
        folder = _folder(out, recipe)
        _log.info("%s, seed %d: %s", variant.name, recipe.seed, variant.changes)
        state = _trained(recipe, folder, device=device, minutes=ablation.minutes)
        if not _is_complete(state, ablation.minutes):
            _log.warning("stopped in %s; go on with --resume", folder)
            break
        results.append(_measured(ablation, variant, state, folder, device=device, data=data))
        after_each(results)
    return results


def _folder(out: Path, recipe: Recipe) -> Path:
    return out / recipe.name / f"seed_{recipe.seed}"


def _refuse_old_runs(runs: list[tuple[PlannedVariant, Recipe]], out: Path) -> None:
    folders = [_folder(out, recipe) for _, recipe in runs]
    problems = [
        f"{folder.relative_to(out)} holds a run already; give --resume to go on, or another --out"
        for folder in folders
        if (folder / CHECKPOINT_FILE).exists()
    ]
    if problems:
        raise ConfigError(problems, where=str(out))


def _trained(
    recipe: Recipe, folder: Path, *, device: torch.device, minutes: float | None
) -> Checkpoint:
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return train(recipe, folder, device=device, minutes=minutes)
    state = load_checkpoint(path)
    if state.recipe == recipe and _is_complete(state, minutes):
        return state
    return train(recipe, folder, device=device, minutes=minutes, resume=True)


def _is_complete(state: Checkpoint, minutes: float | None) -> bool:
    by_time = minutes is not None and state.seconds >= 60 * minutes
    return by_time or state.step >= state.recipe.training.steps


def _measured(
    ablation: Ablation,
    variant: PlannedVariant,
    state: Checkpoint,
    folder: Path,
    *,
    device: torch.device,
    data: Sequence[Path],
) -> RunResult:
    """Measure a finished run, or read what was measured on the same crowds and sets before."""
    path = folder / _RESULT_FILE
    measured_on = {
        "step": state.step,
        "crowds": common_crowds(ablation, variant).to_mapping(),
        "data": [str(each.resolve()) for each in data],
    }
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["measured_on"] == measured_on:
            return RunResult(**known["result"])
    result = RunResult(
        variant=variant.name,
        group=variant.group,
        changes=variant.changes,
        seed=state.recipe.seed,
        num_parameters=sum(map(math.prod, state.recipe.model.tensor_shapes().values())),
        steps=state.step,
        training_seconds=state.seconds,
        **_synthetic(common_crowds(ablation, variant), state, device),
        **(_real(variant.name, state, device, data) if data else {}),
    )
    partial = path.with_suffix(".partial")
    record = {"measured_on": measured_on, "result": asdict(result)}
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return result


def _synthetic(recipe: Recipe, state: Checkpoint, device: torch.device) -> dict[str, Any]:
    weights = {name: tensor.to(device) for name, tensor in state.average.items()}
    found = validate(recipe, weights, draw_validation_crowds(recipe), TorchOps(device))
    return {f"synthetic_{name}": value for name, value in asdict(found).items()}


def _real(
    name: str, state: Checkpoint, device: torch.device, data: Sequence[Path]
) -> dict[str, Any]:
    contenders = [
        classical(_BASELINE),
        frozen(name, export.frozen(state), device=str(device)),
    ]
    done = evaluate_folders(data, contenders, num_seeds=1)

    def accuracies(method: str) -> dict[str, float]:
        return {dataset: m.accuracy for dataset, m in done.of_method(method).items()}

    return {
        "real_accuracy_of_set": accuracies(name),
        "real_majority_vote_accuracy_of_set": accuracies(_BASELINE),
        "real_problems": [f"{problem.dataset}: {problem.message}" for problem in done.problems],
    }
