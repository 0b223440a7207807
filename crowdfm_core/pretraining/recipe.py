"""What a pre-training run does, as typed, frozen settings read from YAML.

All problems of a file (unknown keys, wrong types, bad ranges) are reported in one ConfigError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from crowdfm_core.errors import ConfigError
from crowdfm_core.models import ARCHITECTURES, ModelConfig
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.simulation import (
    CrowdGenerator,
    DawidSkeneCrowds,
    GladCrowds,
    GroupedCrowds,
    Mixture,
    OneCoinCrowds,
    RichCrowds,
    SubtypedCrowds,
    ThreeParameterLogisticCrowds,
    UniformCrowds,
)
from crowdfm_core.typed_mapping import build, checked_value, plain_values, read_mapping

__all__ = [
    "GENERATORS",
    "Mechanism",
    "Recipe",
    "TrainingSettings",
    "ValidationSettings",
    "read_recipe",
    "recipe_from_mapping",
]

# What `generator:` may name; later mechanisms register here.
GENERATORS: dict[str, type[CrowdGenerator]] = {
    "three_parameter_logistic": ThreeParameterLogisticCrowds,
    "uniform": UniformCrowds,
    "rich": RichCrowds,
    "dawid_skene": DawidSkeneCrowds,
    "one_coin": OneCoinCrowds,
    "glad": GladCrowds,
    "grouped": GroupedCrowds,
    "subtyped": SubtypedCrowds,
}


@dataclass(frozen=True)
class Mechanism:
    """One generator of the mixture that crowds are drawn from."""

    name: str
    crowds: CrowdGenerator
    share: float = 1.0

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], path: str, problems: list[str]) -> Any:
        """A mechanism lists its generator's own settings beside `name`, `share` and `generator`."""
        settings = dict(mapping)
        generator = settings.pop("generator", None)
        name = settings.pop("name", generator)
        share = checked_value(float, settings.pop("share", 1.0), f"{path}.share", problems)
        if generator not in GENERATORS:
            known = ", ".join(GENERATORS)
            problems.append(f"{path}.generator: expected one of {known}, got {generator!r}")
            return None
        crowds = build(GENERATORS[generator], settings, path, problems)
        if crowds is None or share is None:
            return None
        return cls(name=str(name), crowds=crowds, share=share)


@dataclass(frozen=True)
class TrainingSettings:
    """Optimisation: AdamW, linear warm-up and cosine decay, weights averaged over steps."""

    steps: int = 20_000
    crowds_per_step: int = 32
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 500
    weight_decay: float = 0.01
    second_moment_decay: float = 0.98
    gradient_clip: float = 1.0  # largest norm of the whole gradient
    average_decay: float = 0.999  # of the running average of the weights
    # Unrolled models alone: share of steps whose projects are all laid out as those with many
    # options are, and weight of the loss of each layer but the last.
    tied_share: float = 0.1
    early_layers_weight: float = 0.3
    prefetch_processes: int = 1  # 0 draws crowds in the training process
    log_every_steps: int = 20
    checkpoint_every_seconds: float = 300.0

    def __post_init__(self) -> None:
        positive = ("steps", "crowds_per_step", "learning_rate", "gradient_clip")
        cadence = ("log_every_steps", "checkpoint_every_seconds")
        at_least_zero = (
            "final_learning_rate",
            "warmup_steps",
            "weight_decay",
            "prefetch_processes",
            "early_layers_weight",
        )
        problems = [
            f"{name}: expected a number above 0, got {getattr(self, name)}"
            for name in (*positive, *cadence)
            if getattr(self, name) <= 0
        ]
        problems += [
            f"{name}: expected a number >= 0, got {getattr(self, name)}"
            for name in at_least_zero
            if getattr(self, name) < 0
        ]
        problems += [
            f"{name}: expected a number in [0, 1), got {getattr(self, name)}"
            for name in ("second_moment_decay", "average_decay", "tied_share")
            if not 0 <= getattr(self, name) < 1
        ]
        if problems:
            raise ConfigError(problems, where="training")


@dataclass(frozen=True)
class ValidationSettings:
    """Fresh synthetic crowds, the same at every validation of a run."""

    crowds: int = 200  # of every mechanism
    every_steps: int = 500

    def __post_init__(self) -> None:
        if self.crowds < 1 or self.every_steps < 1:
            problem = f"expected crowds and every_steps >= 1, got {self.crowds}, {self.every_steps}"
            raise ConfigError([problem], where="validation")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run's weights, apart from the machine's rounding."""

    name: str
    mechanisms: tuple[Mechanism, ...]
    seed: int = 1
    architecture: Literal["attention", "unrolled"] = "attention"
    model: ModelConfig = field(default_factory=AttentionConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)

    def generator(self) -> CrowdGenerator:
        """Return the mixture of all mechanisms."""
        return Mixture([m.crowds for m in self.mechanisms], [m.share for m in self.mechanisms])

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values that `recipe_from_mapping` reads back to an equal recipe."""
        mapping = asdict(self)
        kinds = {kind: name for name, kind in GENERATORS.items()}
        mapping["mechanisms"] = [
            {
                "name": mechanism.name,
                "share": mechanism.share,
                "generator": kinds[type(mechanism.crowds)],
                **plain_values(plain["crowds"]),
            }
            for mechanism, plain in zip(self.mechanisms, mapping["mechanisms"], strict=True)
        ]
        plain_mapping: dict[str, Any] = plain_values(mapping)
        return plain_mapping


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file and apply `key.sub=value` overrides, as `load_config` does.

    Raises ConfigError with all problems.
    """
    problems: list[str] = []
    mapping = read_mapping(path, problems, overrides)
    return _recipe(mapping, problems, where=str(path))


def recipe_from_mapping(mapping: Any, *, where: str) -> Recipe:
    """Build a recipe from plain values; raises ConfigError with all problems at once."""
    return _recipe(mapping, [], where=where)


def _recipe(mapping: Any, problems: list[str], *, where: str) -> Recipe:
    rest = dict(mapping) if isinstance(mapping, Mapping) else mapping
    model: ModelConfig | None = None
    if isinstance(rest, dict):
        # What `model` may hold depends on the architecture; an unknown one is reported below.
        kind = ARCHITECTURES.get(str(rest.get("architecture")), AttentionConfig)
        model = build(kind, rest.pop("model", {}), "model", problems)
    recipe = build(Recipe, rest, "", problems)
    if isinstance(recipe, Recipe):
        recipe = replace(recipe, model=model or recipe.model)
        names = [mechanism.name for mechanism in recipe.mechanisms]
        if not names or len(set(names)) < len(names):
            problems.append(f"mechanisms: expected one or more with distinct names, got {names}")
        elif min(m.share for m in recipe.mechanisms) < 0 or not sum(
            m.share for m in recipe.mechanisms
        ):
            problems.append("mechanisms: expected shares >= 0 with a sum above 0")
    if problems or not isinstance(recipe, Recipe):
        raise ConfigError(problems, where=where)
    return recipe
