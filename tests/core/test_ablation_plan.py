"""Plans of ablations: overrides reach the recipes, impossible plans are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crowdfm_core.errors import ConfigError
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.models.unrolled import UnrolledConfig
from crowdfm_core.pretraining.ablation_plan import BASE, Budget, read_plan
from tests.core.test_ablation import (
    CONF,
    UNROLLED,
    plan_file,
)


def test_overrides_reach_the_recipes(tmp_path: Path) -> None:
    variants = [
        {"name": "wide", "group": "width", "model": {"width": 16}},
        {"name": "unrolled", "group": "architecture", **UNROLLED},
        {"name": "slow", "group": "training", "training": {"learning_rate": 1e-4}},
    ]
    plan = read_plan(plan_file(tmp_path, variants=variants), Budget(steps=9))
    base, wide, unrolled, slow = (variant.recipe for variant in plan.variants)
    assert base.model == AttentionConfig(width=8, layers=2, heads=2)
    assert wide.model == AttentionConfig(width=16, layers=2, heads=2)
    assert unrolled.model == UnrolledConfig(width=8, layers=2, hidden=12)
    assert slow.training == replace(base.training, learning_rate=1e-4)
    assert {recipe.training.steps for recipe in (base, wide, unrolled, slow)} == {9}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bass": "x"}, "bass: unknown key; did you mean 'base'"),
        ({"variants": [{"name": "a", "group": "g"}]}, "expected a change of the base recipe"),
        ({"variants": [{"name": "a", "group": "g", "model": {"widht": 2}}]}, "widht: unknown key"),
        ({"variants": [{"name": "a", "group": "g", "modle": {}}]}, r"variants\[0\]\.modle: unkn"),
        (
            {"variants": [{"name": "a", "group": "g", "training": {"steps": 3}}]},
            r"training\.steps: is the same for all variants",
        ),
        ({"variants": [{"name": "base", "group": "g", "model": {"width": 2}}]}, "always trained"),
        ({"variants": [{"name": "A/B", "group": "g", "model": {"width": 2}}]}, "letters a-z"),
        (
            {"variants": [{"name": "a", "group": "g", "model": {"width": 2}}] * 2},
            "distinct names",
        ),
        ({"training": {"stepps": 3}}, r"training\.stepps: unknown key"),
        ({"validation": {"crowds": 0}}, "crowds >= 1"),
        ({"num_seeds": 0}, "num_seeds: expected a number >= 1"),
        ({"base": "none.yaml"}, "none.yaml: .*cannot be read"),
    ],
)
def test_impossible_plan_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = plan_file(tmp_path, **changes)
    with pytest.raises(ConfigError, match=f"(?s){problem}"):
        read_plan(path, Budget())


def test_unknown_variant_and_empty_budget_are_refused(tmp_path: Path) -> None:
    ablation = read_plan(plan_file(tmp_path), Budget())
    with pytest.raises(ConfigError, match="men: expected one of base, unrolled, mean, uniform"):
        ablation.only(["men"])
    with pytest.raises(ConfigError, match="steps: expected a number above 0, got 0"):
        Budget(steps=0, num_seeds=1)
    with pytest.raises(ConfigError, match="expected steps or minutes per run, got both"):
        Budget(steps=1, minutes=1.0)


def test_shipped_plan_is_complete() -> None:
    plan = read_plan(CONF / "ablations.yaml", Budget())
    assert plan.base.architecture == "unrolled"
    groups = {variant.group for variant in plan.variants}
    assert groups >= {BASE, "architecture", "simulator", "layers", "width", "features"}
    kinds = {variant.name: variant.recipe for variant in plan.variants}
    attention = kinds["attention"].model
    assert isinstance(attention, AttentionConfig)
    assert kinds["mean"].model == replace(attention, aggregation="mean")
    budgets = {(r.training.steps, r.training.crowds_per_step) for r in kinds.values()}
    assert len(budgets) == 1
