"""Recipes of pre-training: what they accept, and that every problem is named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from crowdfm_core.errors import ConfigError
from crowdfm_core.pretraining.recipe import read_recipe, recipe_from_mapping

CONF = Path(__file__).parents[2] / "conf" / "pretraining"
# A plan of ablations stands beside the recipes that it names; test_ablation.py reads it.
RECIPES = sorted(path for path in CONF.glob("*.yaml") if path.stem != "ablations")
MECHANISM = {"name": "even", "generator": "uniform"}


def recipe_with(**changes: Any) -> dict[str, Any]:
    return {"name": "test", "mechanisms": [MECHANISM], **changes}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipe_loads_and_survives_a_round_trip(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe_from_mapping(recipe.to_mapping(), where="round trip") == recipe
    recipe.generator().sample(np.random.default_rng(0))


def test_every_problem_is_named_at_once() -> None:
    mapping = recipe_with(
        colour="red",
        seed="one",
        mechanisms=[MECHANISM, {"generator": "real_data"}, {**MECHANISM, "name": "b", "wd": 1}],
        model={"width": 32.5},
        training={"stepps": 3, "prefetch_processes": True},
    )
    with pytest.raises(ConfigError) as error:
        recipe_from_mapping(mapping, where="bad.yaml")
    for problem in (
        "colour: unknown key",
        "seed: expected int, got 'one'",
        "mechanisms[1].generator: expected one of three_parameter_logistic, uniform",
        "mechanisms[2].wd: unknown key",
        "model.width: expected int, got 32.5",
        "training.stepps: unknown key",
        "training.prefetch_processes: expected int, got True",
    ):
        assert problem in str(error.value)
    assert "bad.yaml: 7 problem(s)" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mechanisms": []}, "expected one or more with distinct names"),
        ({"mechanisms": [MECHANISM, MECHANISM]}, "expected one or more with distinct names"),
        ({"mechanisms": [{**MECHANISM, "share": -1}]}, "expected shares >= 0"),
        ({"training": {"average_decay": 1.0}}, r"training\.average_decay: .* \[0, 1\)"),
        ({"training": {"steps": 0}}, r"training\.steps: expected a number above 0"),
        ({"validation": {"crowds": 0}}, "crowds and every_steps >= 1"),
        (
            {"mechanisms": [{**MECHANISM, "sizes": {"options": [1, 9]}}]},
            r"mechanisms\[0\]\.sizes\.options: expected a low end >= 2",
        ),
        ({"mechanisms": [{**MECHANISM, "sizes": {"tasks": 5}}]}, r"tasks: expected tuple"),
        ({"architecture": "transformer"}, "architecture: expected"),
        ({"model": 3}, "model: expected a mapping"),
    ],
)
def test_impossible_value_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        recipe_from_mapping(recipe_with(**changes), where="test")


def test_overrides_change_single_values_and_are_all_checked(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe_with(seed=1)))
    changed = read_recipe(file, ["seed=7", "training.steps=12"])
    assert changed == recipe_from_mapping(recipe_with(seed=7, training={"steps": 12}), where="")
    with pytest.raises(ConfigError) as caught:
        read_recipe(file, ["seed", "training.stepps=1", "name.x=1"])
    assert len(caught.value.problems) == 3


def test_missing_name_and_wrong_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name: missing"):
        recipe_from_mapping({"mechanisms": [MECHANISM]}, where="test")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        read_recipe(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        read_recipe(tmp_path / "list.yaml")
