"""Calibration: the factor by plain loops, labels that stay, crowds that it makes less wrong."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfm_core.calibration import MAX_LOG_FACTOR, calibrate, calibration_factors, sureness_sums
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.errors import WeightsError
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.models.unrolled import UnrolledConfig
from crowdfm_core.pretraining.__main__ import main
from crowdfm_core.pretraining.calibration_head import (
    fit_calibration,
    measure_calibration,
    with_shared_errors,
)
from crowdfm_core.pretraining.objective import initial_weights
from crowdfm_core.pretraining.recipe import Recipe, read_recipe
from crowdfm_core.read_outs import CALIBRATION_FEATURES
from crowdfm_core.scoring import Scorer
from crowdfm_core.weights import FrozenWeights, load_weights, save_weights
from tests.core.test_unrolled import batch_of, frozen, layout_of, random_rows

RECIPES = Path(__file__).parents[2] / "conf" / "pretraining"


def calibration_head(seed: int = 1, scale: float = 0.2) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = {"hidden.weight": (CALIBRATION_FEATURES, 4), "hidden.bias": (4,), "weight": (4,)}
    head = {
        name: draw.normal(0.0, scale, shape) for name, shape in {**shapes, "bias": (1,)}.items()
    }
    return {f"heads.calibration.{name}": value.astype(np.float32) for name, value in head.items()}


def calibrated_weights(seed: int = 1) -> FrozenWeights:
    weights = frozen()
    return dataclasses.replace(weights, heads={**weights.heads, **calibration_head(seed)})


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    model = UnrolledConfig(width=8, layers=2, hidden=12)
    return dataclasses.replace(
        read_recipe(RECIPES / "tiny.yaml"), architecture="unrolled", model=model
    )


def test_calibrated_posterior_equals_loops_over_components() -> None:
    one, two = random_rows(3, tasks=9), random_rows(4, tasks=6)
    rows = [*one, *((t + 9, w + 5, o) for t, w, o in two)]
    layout = layout_of(rows, 3)
    logits = np.random.default_rng(5).normal(0.0, 2.0, (15, 3))
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    head = calibration_head()
    tensor = {name.removeprefix("heads.calibration."): value for name, value in head.items()}
    expected = np.empty((15, 3))
    for tasks in (range(9), range(9, 15)):
        sums, answers = [0.0, 0.0, 0.0], 0
        for task in tasks:
            given_here = [o for t, _, o in rows if t == task]
            share = [given_here.count(k) / len(given_here) for k in range(3)]
            answers += len(given_here)
            sums[0] += max(posterior[task])
            sums[1] += sum(posterior[task, k] * share[k] for k in range(3))
            sums[2] += sum(s * s for s in share)
        means = [total / len(tasks) for total in sums]
        features = np.array([math.log(3), math.log(answers / len(tasks)), *means])
        hidden = np.maximum(features @ tensor["hidden.weight"] + tensor["hidden.bias"], 0.0)
        factor = math.exp(hidden @ tensor["weight"] + tensor["bias"][0])
        for task in tasks:
            powers = posterior[task] ** factor
            expected[task] = powers / powers.sum()
    found = np.exp(calibrate(head, layout, np.log(posterior).ravel()))
    np.testing.assert_allclose(found.reshape(15, 3), expected, rtol=1e-6)
    assert np.abs(found.reshape(15, 3) - posterior).max() > 0.01


def test_blocks_of_tasks_add_up_to_the_whole() -> None:
    rows = random_rows(6, tasks=12)
    whole = layout_of(rows, 3)
    log_posterior = np.log(np.random.default_rng(7).dirichlet(np.ones(3), 12))
    expected = calibrate(calibration_head(), whole, log_posterior.ravel()).reshape(12, 3)
    sizes = ComponentSizes(len(rows), 12, 5, 3)
    blocks = []
    for start in (0, 6):
        part = [(t - start, w, o) for t, w, o in rows if start <= t < start + 6]
        block = dataclasses.replace(layout_of(part, 3), components=(sizes,))
        blocks.append((block, log_posterior[start : start + 6].ravel()))
    sums = np.sum([sureness_sums(*block) for block in blocks], axis=0)
    for (block, values), wanted in zip(blocks, np.split(expected, 2), strict=True):
        found = calibrate(calibration_head(), block, values, sums=sums)
        np.testing.assert_allclose(found.reshape(6, 3), wanted, rtol=1e-12)


def test_projects_packed_together_are_calibrated_as_alone_to_the_last_bit() -> None:
    scorer = Scorer(calibrated_weights())
    mine = (random_rows(6, tasks=30, workers=8), 3)
    other = (random_rows(7, tasks=40, workers=9, options=40), 40)
    alone, both = scorer.score(batch_of(mine)), scorer.score(batch_of(other, mine))
    np.testing.assert_array_equal(both.probability[40:], alone.probability)
    np.testing.assert_array_equal(both.entropy[40:], alone.entropy)
    np.testing.assert_array_equal(both.expected_accuracy[9:], alone.expected_accuracy)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), options=st.sampled_from([1, 2, 5, 30]))
def test_no_label_changes(seed: int, options: int) -> None:
    batch = batch_of((random_rows(seed, tasks=20, workers=6, options=options), options))
    raw = Scorer(frozen()).score(batch)
    scored = Scorer(calibrated_weights(seed)).score(batch)
    for field in ("label_index", "runner_up_index", "top_option_index"):
        np.testing.assert_array_equal(getattr(scored, field), getattr(raw, field), field)
    np.testing.assert_allclose(np.add.reduceat(scored.top_probability, scored.top_offsets[:-1]), 1)
    np.testing.assert_array_equal(scored.difficulty, raw.difficulty)
    moved = np.abs(scored.probability - raw.probability).max()
    assert (moved == 0.0) if options == 1 else (moved > 0.0)


def test_an_odd_component_gets_a_bounded_factor() -> None:
    features = np.full((1, CALIBRATION_FEATURES), 1e9)
    factors = [calibration_factors(calibration_head(s), features)[0] for s in range(20)]
    assert min(factors) == pytest.approx(math.exp(-MAX_LOG_FACTOR))
    assert max(factors) == pytest.approx(math.exp(MAX_LOG_FACTOR))


def test_torch_calibrates_as_numpy_does() -> None:
    batch = batch_of((random_rows(8, tasks=25, workers=7), 3))
    one, other = (Scorer(calibrated_weights(), device=d).score(batch) for d in ("cpu", "cpu:0"))
    np.testing.assert_allclose(one.probability, other.probability, atol=2e-5)
    assert np.abs(one.probability - Scorer(frozen()).score(batch).probability).max() > 1e-3


def test_weights_load_with_and_without_the_head(tmp_path: Path) -> None:
    save_weights(tmp_path / "old", frozen())
    save_weights(tmp_path / "new", calibrated_weights())
    assert not [name for name in load_weights(tmp_path / "old").heads if "calibration" in name]
    loaded = load_weights(tmp_path / "new").heads
    for name, tensor in calibration_head().items():
        np.testing.assert_array_equal(loaded[name], tensor)
    attention = AttentionConfig(width=4, layers=1, heads=2)
    tensors = {name: np.ones(shape) for name, shape in attention.tensor_shapes().items()}
    with pytest.raises(WeightsError, match=r"unexpected heads\.calibration\.bias"):
        save_weights(tmp_path / "x", FrozenWeights(attention, tensors, calibration_head()))


def test_fitted_head_lowers_the_loss_on_fresh_crowds(recipe: Recipe) -> None:
    weights = {n: t.detach() for n, t in initial_weights(recipe, torch.device("cpu")).items()}
    for name in ("output.weight", "trust"):
        weights[name] = 2.5 * weights[name]  # far too sure, so that few crowds tell
    head = fit_calibration(recipe, weights, num_crowds=8)
    measured = measure_calibration(recipe, weights, head, num_crowds=16)["all"]
    assert measured.crowds == 16
    assert measured.log_loss < measured.raw_log_loss - 0.01
    assert measured.calibration_error < measured.raw_calibration_error
    none = {name: np.zeros_like(tensor) for name, tensor in head.items()}
    unchanged = measure_calibration(recipe, weights, none, num_crowds=16)["all"]
    assert unchanged.log_loss == unchanged.raw_log_loss == measured.raw_log_loss


def test_fitted_on_mechanisms_whose_workers_err_alike(recipe: Recipe) -> None:
    kept = [m.name for m in with_shared_errors(read_recipe(RECIPES / "unrolled.yaml")).mechanisms]
    assert "subtyped" in kept
    assert "dawid_skene_biased" in kept
    assert not {"dawid_skene", "one_coin", "glad", "three_parameter_logistic"} & set(kept)
    assert with_shared_errors(recipe) == recipe  # it has no such mechanism: all are kept


def test_command_adds_the_head_and_nothing_else(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = dataclasses.replace(recipe, model=frozen().config)
    account = {"settings": mine.to_mapping(), "steps": 7}
    before = tmp_path / "before"
    save_weights(before, dataclasses.replace(frozen(), recipe=account))
    command = ["heads", "--weights", str(before), "--calibrate", str(tmp_path / "after")]
    assert main([*command, "--head-crowds", "2", "--crowds", "2", "--device", "cpu"]) == 0
    assert "### calibration" in capsys.readouterr().out
    old, new = load_weights(before), load_weights(tmp_path / "after")
    assert set(new.heads) - set(old.heads) == set(calibration_head())
    for name, tensor in {**old.tensors, **old.heads}.items():
        np.testing.assert_array_equal({**new.tensors, **new.heads}[name], tensor)
    assert new.recipe["heads"].pop("calibration")["all"]["crowds"] == 1
    assert new.recipe == {**old.recipe, "heads": {}}
    assert new.sha256 != old.sha256


def test_weights_of_unknown_training_are_not_calibrated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "unknown", frozen())
    command = ["heads", "--weights", str(tmp_path / "unknown"), "--device", "cpu"]
    assert main([*command, "--calibrate", str(tmp_path / "out")]) == 2
    assert "with the recipe of their training" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
