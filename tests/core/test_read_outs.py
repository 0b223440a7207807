"""Heads as plain tensors: against torch's own layers, row by row, and refused where misshapen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from crowdfm_core.errors import WeightsError
from crowdfm_core.models.unrolled import UnrolledConfig
from crowdfm_core.pretraining.networks import Network
from crowdfm_core.read_outs import head_shapes, read_out, read_outs
from crowdfm_core.weights import FrozenWeights, load_weights, save_weights
from tests.core.test_unrolled import random_tensors

CONFIG = UnrolledConfig(width=4, layers=2, hidden=6)
NUM_WORKER_COLUMNS = CONFIG.embedding_widths()["ability"]
NUM_TASK_COLUMNS = CONFIG.embedding_widths()["difficulty"]


def network(width: int, outputs: int) -> tuple[Network, np.ndarray]:
    torch.manual_seed(2)
    embeddings = np.random.default_rng(3).normal(2.0, 3.0, (50, width)).astype(np.float32)
    return Network(embeddings, hidden=5, outputs=outputs), embeddings


def pair_heads() -> dict[str, np.ndarray]:
    heads = {"heads.compatibility.class_skill": np.array([0.4], np.float32)}
    for side, width in (("worker", NUM_WORKER_COLUMNS), ("task", NUM_TASK_COLUMNS)):
        tensors = network(width, 3)[0].tensors()
        heads |= {f"heads.compatibility.{side}.{part}": value for part, value in tensors.items()}
    return heads


def test_written_network_says_what_torch_says() -> None:
    one, embeddings = network(7, 1)
    heads = {f"heads.x.{part}": t for part, t in one.tensors(scale=2.0, shift=-1.0).items()}
    with torch.no_grad():
        expected = 2.0 * one(torch.as_tensor(embeddings))[:, 0] - 1.0
    np.testing.assert_allclose(read_out(heads, "x", embeddings), expected, atol=1e-4)
    many, embeddings = network(7, 3)
    heads = {f"heads.x.{part}": tensor for part, tensor in many.tensors().items()}
    with torch.no_grad():
        expected = many(torch.as_tensor(embeddings))
    np.testing.assert_allclose(read_outs(heads, "x", embeddings), expected, atol=1e-4)


def test_linear_head_is_a_sum_of_products() -> None:
    heads = {"heads.x.weight": np.array([1.0, -2.0]), "heads.x.bias": np.array([0.5])}
    assert read_out(heads, "x", np.array([[3.0, 1.0], [0.0, 0.0]])).tolist() == [1.5, 0.5]
    assert np.isnan(read_out(heads, "absent", np.ones((3, 2)))).all()


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it(outputs: int) -> None:
    made, _ = network(70, outputs)
    heads = {f"heads.x.{part}": tensor for part, tensor in made.tensors().items()}
    read = read_out if outputs == 1 else read_outs
    embeddings = np.random.default_rng(4).normal(size=(300, 70)).astype(np.float32)
    together = read(heads, "x", embeddings)
    for rows in ([0], [299], [5, 4], list(range(100, 237))):
        np.testing.assert_array_equal(read(heads, "x", embeddings[rows]), together[rows])


def test_shapes_follow_what_is_there() -> None:
    linear = {"heads.x.weight": np.ones(7), "heads.x.bias": np.ones(1)}
    assert head_shapes(linear, "x", width=7) == {"heads.x.weight": (7,), "heads.x.bias": (1,)}
    assert head_shapes({}, "x", width=7) == {}
    heads = {f"heads.x.{part}": tensor for part, tensor in network(7, 3)[0].tensors().items()}
    shapes = {name: tensor.shape for name, tensor in heads.items()}
    assert head_shapes(heads, "x", width=7, outputs=3) == shapes


def test_heads_come_back_as_saved_and_misfits_are_refused(tmp_path: Path) -> None:
    heads = pair_heads()
    save_weights(tmp_path, FrozenWeights(CONFIG, random_tensors(CONFIG), heads))
    loaded = load_weights(tmp_path)
    assert set(loaded.heads) == set(heads)
    for name, tensor in heads.items():
        np.testing.assert_array_equal(loaded.heads[name], tensor)
    without = {name: t for name, t in heads.items() if not name.endswith("task.bias")}
    with pytest.raises(WeightsError, match=r"missing heads\.compatibility\.task\.bias"):
        save_weights(tmp_path, FrozenWeights(CONFIG, random_tensors(CONFIG), without))
    cut = {**heads, "heads.compatibility.worker.hidden.weight": np.ones((2, 5))}
    with pytest.raises(WeightsError, match=r"worker\.hidden\.weight: expected shape \(22, 5\)"):
        save_weights(tmp_path, FrozenWeights(CONFIG, random_tensors(CONFIG), cut))
