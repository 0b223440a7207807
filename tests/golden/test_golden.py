"""Published numbers: arrays in a folder outside the project, given with --reference-dir."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crowdfm_core.backends.attention_numpy import CompiledAttentionModel
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.weights import FrozenWeights, from_published_layout


def forward(
    weights: FrozenWeights,
    task: np.ndarray,
    worker: np.ndarray,
    option: np.ndarray,
    options: np.ndarray,
    ops: NumpyOps,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tensors = {name: ops.array(value) for name, value in weights.tensors.items()}
    assert isinstance(weights.config, AttentionConfig)
    model = CompiledAttentionModel(weights.config, tensors, ops)
    graph = AnnotationGraph.from_arrays(
        task,
        worker,
        option,
        num_tasks=int(task.max()) + 1,
        num_workers=int(worker.max()) + 1,
        num_option_rows=len(options),
    )
    options = ops.array(options)
    workers, tasks = model.encode(graph, options)
    task_part, option_part = model.classifier_parts(tasks, options)
    hidden = task_part[:, None] + option_part
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    logits = hidden @ tensors["classifier.output.weight"] + tensors["classifier.output.bias"]
    return logits, workers, tasks


def test_tiny_network_equals_the_published_implementation(reference_dir: Path) -> None:
    golden = np.load(reference_dir / "golden_tiny.npz")
    state = {
        name.removeprefix("weights/"): golden[name]
        for name in golden.files
        if name.startswith("weights/")
    }
    weights = from_published_layout(state, heads=2)
    logits, workers, tasks = forward(
        weights,
        golden["task_index"],
        golden["worker_index"],
        golden["option_index"],
        golden["option_vectors"],
        NumpyOps(np.float64),
    )
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-9)
    np.testing.assert_allclose(workers, golden["worker_embeddings"], atol=1e-9)
    np.testing.assert_allclose(tasks, golden["task_embeddings"], atol=1e-9)


@pytest.mark.parametrize("name", ["Dog", "MS"])
def test_published_checkpoint_equals_its_logits_on_a_real_set(
    name: str, reference_dir: Path, data_dir: Path
) -> None:
    torch = pytest.importorskip("torch", reason="torch is an extra")
    golden = np.load(reference_dir / f"golden_published_{name}.npz")
    state = torch.load(
        reference_dir / "published_checkpoint.pt", map_location="cpu", weights_only=True
    )
    weights = from_published_layout({key: value.numpy() for key, value in state.items()})
    rows = np.loadtxt(data_dir / name / "label.csv", delimiter=",", skiprows=1, dtype=np.int64)
    task, worker, option = (
        np.searchsorted(golden[ids], rows[:, column])
        for column, ids in enumerate(("task_ids", "worker_ids", "options"))
    )
    logits, workers, _ = forward(
        weights, task, worker, option, golden["option_vectors"], NumpyOps(np.float32)
    )
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-3)
    np.testing.assert_allclose(workers, golden["worker_embeddings"], atol=1e-3)
