"""Frozen weights: what is written is read back, and what does not belong together is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crowdfm_core.errors import WeightsError
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.weights import (
    FrozenWeights,
    from_published_layout,
    load_weights,
    save_weights,
    shipped_weights_path,
)
from tests.core.test_attention import random_tensors

SMALL = AttentionConfig(width=4, layers=2, heads=2, output_bias="log_annotations")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    heads = {"heads.ability.weight": np.ones(4), "heads.ability.bias": np.zeros(1)}
    save_weights(tmp_path, FrozenWeights(SMALL, random_tensors(SMALL, 1), heads, recipe={"a": 1}))
    return tmp_path


def test_saved_weights_are_read_back(folder: Path) -> None:
    loaded = load_weights(folder)
    assert loaded.config == SMALL
    assert loaded.recipe == {"a": 1}
    assert set(loaded.heads) == {"heads.ability.weight", "heads.ability.bias"}
    for name, tensor in random_tensors(SMALL, 1).items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor.astype(np.float32))


@pytest.mark.parametrize("name", ["default", "fast", "attention"])
def test_shipped_weights_load_and_carry_both_read_outs(name: str) -> None:
    weights = load_weights(name)
    assert {"heads.ability.weight", "heads.difficulty.weight"} <= set(weights.heads)
    assert (shipped_weights_path(name) / "manifest.json").is_file()


def test_truncated_file_is_refused_with_both_digests(folder: Path) -> None:
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}"):
        load_weights(folder)


def test_tensors_of_another_shape_are_refused_all_at_once(folder: Path) -> None:
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["config"]["width"] = 5
    manifest.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"(?s)initial.task.*\(5,\), got \(4,\).*norm.shift"):
        load_weights(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "other"}, "expected an architecture of attention, unrolled, got 'other'"),
        ({"config": {"wdith": 4}}, "wdith"),
        ({"file": "none.safetensors"}, "none.safetensors: cannot be read"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(
    folder: Path, change: dict[str, object], message: str
) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    with pytest.raises(WeightsError, match=message):
        load_weights(folder)


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"manifest.json: cannot be read"):
        load_weights(tmp_path)


def test_state_that_is_not_the_published_layout_is_refused() -> None:
    with pytest.raises(WeightsError, match="expected the published layout"):
        from_published_layout({"weight": np.zeros(3)})
