"""A plan of ablations, read from YAML: a base recipe, one budget, and variants of the recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from crowdfm_core.errors import ConfigError
from crowdfm_core.pretraining.recipe import (
    Recipe,
    ValidationSettings,
    read_recipe,
    recipe_from_mapping,
)
from crowdfm_core.typed_mapping import build, read_mapping

__all__ = [
    "BASE",
    "Ablation",
    "Budget",
    "CommonValidation",
    "PlannedVariant",
    "common_crowds",
    "read_plan",
]

BASE = "base"  # the variant that changes nothing; always there, always first

# What makes a budget equal is set once, for all variants.
_BUDGET_KEYS = ("steps", "crowds_per_step")


@dataclass(frozen=True)
class CommonValidation:
    """Crowds that every variant is measured on: of each mechanism of the base recipe."""

    crowds: int = 12
    seed: int = 97

    def __post_init__(self) -> None:
        if self.crowds < 1 or self.seed < 0:
            problem = f"expected crowds >= 1 and seed >= 0, got {self.crowds}, {self.seed}"
            raise ConfigError([problem], where="validation")


@dataclass(frozen=True)
class Variant:
    """What one variant changes in the base recipe.

    model: keys of the model; with another architecture they start from its defaults, else from
    the base's. training: keys of the training. crowds_of: a recipe file beside the plan whose
    crowds are trained on in place of the base's. group: heading in the report.
    """

    name: str
    group: str
    architecture: Literal["attention", "unrolled"] | None = None
    model: dict[str, object] = field(default_factory=dict)
    training: dict[str, object] = field(default_factory=dict)
    crowds_of: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            problems.append(f"name: expected letters a-z, digits and _, got {self.name!r}")
        if self.name == BASE:
            problems.append(f"name: {BASE!r} is the base recipe itself, which is always trained")
        problems += [
            f"training.{key}: is the same for all variants; set it in the plan's own training"
            for key in _BUDGET_KEYS
            if key in self.training
        ]
        if not (self.architecture or self.model or self.training or self.crowds_of):
            problems.append(f"{self.name}: expected a change of the base recipe, got none")
        if problems:
            raise ConfigError(problems, where="variant")

    def changes(self) -> str:
        """Say the changes in one line."""
        parts: list[str] = [self.architecture] if self.architecture else []
        parts += [f"{key} {value}" for key, value in {**self.model, **self.training}.items()]
        parts += [f"crowds of {self.crowds_of}"] if self.crowds_of else []
        return ", ".join(parts)


@dataclass(frozen=True)
class _Plan:
    """The file. training: keys that replace the base recipe's, for all variants."""

    base: str
    variants: tuple[Variant, ...]
    training: dict[str, object] = field(default_factory=dict)
    validation: CommonValidation = field(default_factory=CommonValidation)
    num_seeds: int = 1

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        problems = []
        if len(set(names)) < len(names):
            problems.append(f"variants: expected distinct names, got {names}")
        if self.num_seeds < 1:
            problems.append(f"num_seeds: expected a number >= 1, got {self.num_seeds}")
        if problems:
            raise ConfigError(problems, where="plan")


@dataclass(frozen=True)
class Budget:
    """What is asked for in place of the plan's own steps and seeds; None leaves them.

    With minutes of training, a run ends by time, or with the base recipe's steps if these come
    first.
    """

    steps: int | None = None
    minutes: float | None = None
    num_seeds: int | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name}: expected a number above 0, got {value}"
            for name, value in vars(self).items()
            if value is not None and not value > 0
        ]
        if self.steps is not None and self.minutes is not None:
            problems.append("expected steps or minutes per run, got both")
        if problems:
            raise ConfigError(problems, where="budget")


@dataclass(frozen=True)
class PlannedVariant:
    """One variant, ready to be trained."""

    name: str
    group: str
    changes: str
    recipe: Recipe


@dataclass(frozen=True)
class Ablation:
    """A plan whose recipes are complete; the base is the first variant.

    minutes: training time of each run, where it is to end by time.
    """

    variants: tuple[PlannedVariant, ...]
    validation: CommonValidation
    num_seeds: int
    minutes: float | None

    @property
    def base(self) -> Recipe:
        """The recipe that the variants change."""
        return self.variants[0].recipe

    def only(self, names: list[str]) -> Ablation:
        """Keep the base and the named variants; raises ConfigError for an unknown name."""
        known = [variant.name for variant in self.variants]
        problems = [f"{n}: expected one of {', '.join(known)}" for n in names if n not in known]
        if problems:
            raise ConfigError(problems, where="--only")
        kept = tuple(v for v in self.variants if v.name == BASE or v.name in names)
        return replace(self, variants=kept)


def read_plan(path: Path, budget: Budget) -> Ablation:
    """Read a plan and the recipes that it names; raises ConfigError with all of its problems."""
    problems: list[str] = []
    plan = build(_Plan, read_mapping(path, problems), "", problems)
    if plan is None:
        raise ConfigError(problems, where=str(path))
    base = read_recipe(path.parent / plan.base)
    training = {**base.to_mapping()["training"], **plan.training}
    training["steps"] = budget.steps or training["steps"]
    if budget.minutes:
        training["steps"] = base.training.steps
    common = {
        **base.to_mapping(),
        "training": training,
        # The common crowds measure; a run's own ones are only a line of its log.
        "validation": {"crowds": 1, "every_steps": training["steps"]},
    }
    planned = []
    try:
        recipe = recipe_from_mapping({**common, "name": BASE}, where=BASE)
        planned.append(PlannedVariant(BASE, BASE, "nothing", recipe))
    except ConfigError as error:
        problems += error.problems
    for variant in plan.variants:
        try:
            recipe = _recipe_of(variant, common, path.parent)
        except ConfigError as error:
            problems += [f"{variant.name}: {p}" for p in error.problems if p not in problems]
            continue
        planned.append(PlannedVariant(variant.name, variant.group, variant.changes(), recipe))
    if problems:
        raise ConfigError(problems, where=str(path))
    num_seeds = budget.num_seeds or plan.num_seeds
    return Ablation(tuple(planned), plan.validation, num_seeds, budget.minutes)


def _recipe_of(variant: Variant, common: dict[str, Any], folder: Path) -> Recipe:
    mapping = {**common, "name": variant.name}
    if variant.architecture in (None, common["architecture"]):
        mapping["model"] = {**common["model"], **variant.model}
    else:
        mapping |= {"architecture": variant.architecture, "model": variant.model}
    mapping["training"] = {**common["training"], **variant.training}
    if variant.crowds_of:
        mapping["mechanisms"] = read_recipe(folder / variant.crowds_of).to_mapping()["mechanisms"]
    return recipe_from_mapping(mapping, where=variant.name)


def common_crowds(ablation: Ablation, variant: PlannedVariant) -> Recipe:
    """The recipe whose validation crowds measure `variant`: the same crowds for every model."""
    return replace(
        ablation.base,
        seed=ablation.validation.seed,
        architecture=variant.recipe.architecture,
        model=variant.recipe.model,
        validation=ValidationSettings(crowds=ablation.validation.crowds, every_steps=1),
    )
