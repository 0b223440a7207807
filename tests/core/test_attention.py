"""The folded model against the equations written out, in blocks, and its gradients."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from crowdfm_core.backends.attention_numpy import CompiledAttentionModel
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.attention import (
    Aggregation,
    AttentionConfig,
    AttentionModel,
    OutputBias,
    Tensors,
    merge_partials,
)
from tests.core.direct import direct_forward

TASKS, WORKERS, OPTIONS = 30, 9, 4
BOTH = pytest.mark.parametrize("kind", [AttentionModel, CompiledAttentionModel])


def random_tensors(config: AttentionConfig, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape) / np.sqrt(shape[-1])
        for name, shape in config.tensor_shapes().items()
    }


def random_annotations(seed: int, size: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeated pairs, and nodes without any annotation, occur at this size."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, TASKS, size),
        rng.integers(0, WORKERS - 1, size),
        rng.integers(0, OPTIONS, size),
    )


def graph_of(task: np.ndarray, worker: np.ndarray, option: np.ndarray) -> AnnotationGraph:
    return AnnotationGraph.from_arrays(
        task, worker, option, num_tasks=TASKS, num_workers=WORKERS, num_option_rows=OPTIONS
    )


@BOTH
@pytest.mark.parametrize("aggregation", ["attention", "mean"])
@pytest.mark.parametrize("output_bias", ["per_annotation", "log_annotations", "once"])
def test_encode_equals_the_equations_written_out(
    output_bias: OutputBias, aggregation: Aggregation, kind: type[AttentionModel]
) -> None:
    config = AttentionConfig(
        width=6, layers=3, heads=2, output_bias=output_bias, aggregation=aggregation
    )
    tensors = random_tensors(config, 1)
    task, worker, option = random_annotations(2)
    options = np.random.default_rng(3).standard_normal((OPTIONS, 6))
    _, expected_workers, expected_tasks = direct_forward(
        config, tensors, task, worker, option, options, num_tasks=TASKS, num_workers=WORKERS
    )
    model = kind(config, tensors, NumpyOps(np.float64))
    workers, tasks = model.encode(graph_of(task, worker, option), options)
    np.testing.assert_allclose(workers, expected_workers, atol=1e-10)
    np.testing.assert_allclose(tasks, expected_tasks, atol=1e-10)


@BOTH
def test_encode_with_shuffled_rows_is_equal_to_the_last_bit(kind: type[AttentionModel]) -> None:
    config = AttentionConfig(width=6, layers=3, heads=2)
    ops = NumpyOps(np.float32)
    tensors = {name: ops.array(value) for name, value in random_tensors(config, 1).items()}
    model = kind(config, tensors, ops)
    task, worker, option = random_annotations(2)
    options = ops.array(np.random.default_rng(3).standard_normal((OPTIONS, 6)))
    shuffle = np.random.default_rng(4).permutation(len(task))
    one = model.encode(graph_of(task, worker, option), options)
    other = model.encode(graph_of(task[shuffle], worker[shuffle], option[shuffle]), options)
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


@BOTH
def test_worker_partials_of_task_blocks_merge_to_those_of_the_whole(
    kind: type[AttentionModel],
) -> None:
    config = AttentionConfig(width=6, layers=1, heads=2)
    tensors = random_tensors(config, 1)
    model = kind(config, tensors, NumpyOps(np.float64))
    task, worker, option = random_annotations(2)
    rng = np.random.default_rng(3)
    options, z_w, z_t = (rng.standard_normal((n, 6)) for n in (OPTIONS, WORKERS, TASKS))
    whole = model.worker_partials(0, graph_of(task, worker, option), z_w, z_t, options)
    blocks = [task % 3 == block for block in range(3)]
    parts = [
        model.worker_partials(0, graph_of(task[b], worker[b], option[b]), z_w, z_t, options)
        for b in blocks
    ]
    merged = merge_partials(merge_partials(parts[2], parts[0]), parts[1])
    for name in ("log_sum", "neighbour_sum", "option_sum", "degree"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), atol=1e-12)


@pytest.mark.parametrize(("width", "heads"), [(6, 5), (16, 4), (20, 1)])
def test_compiled_sides_equal_those_on_whole_arrays(width: int, heads: int) -> None:
    """Widths and heads that fill the vectors or not; pairs of more annotations than a tile."""
    config = AttentionConfig(width=width, layers=1, heads=heads)
    # Steep scores, so that the running maximum moves from tile to tile.
    tensors = {name: 2 * value for name, value in random_tensors(config, 1).items()}
    graph = graph_of(*random_annotations(2, size=4000))
    rng = np.random.default_rng(3)
    options, z_w, z_t = (rng.standard_normal((n, width)) for n in (OPTIONS, WORKERS, TASKS))
    compiled, plain = (
        kind(config, tensors, NumpyOps(np.float64))
        for kind in (CompiledAttentionModel, AttentionModel)
    )
    partials = [m.worker_partials(0, graph, z_w, z_t, options) for m in (compiled, plain)]
    for name in ("log_sum", "neighbour_sum", "option_sum", "degree"):
        one, other = (getattr(of, name) for of in partials)
        np.testing.assert_allclose(one, other, atol=1e-11, err_msg=name)
    one, other = (m.update_tasks(0, graph, z_w, z_t, options) for m in (compiled, plain))
    np.testing.assert_allclose(one, other, atol=1e-11)


def test_encode_on_one_thread_is_equal_to_the_last_bit() -> None:
    config, ops = AttentionConfig(width=6, layers=2, heads=2), NumpyOps()
    tensors = {name: ops.array(value) for name, value in random_tensors(config, 1).items()}
    model, graph = CompiledAttentionModel(config, tensors, ops), graph_of(*random_annotations(2))
    options = ops.array(np.random.default_rng(3).standard_normal((OPTIONS, 6)))
    threads = numba.get_num_threads()
    many = model.encode(graph, options)
    try:
        numba.set_num_threads(1)
        one = model.encode(graph, options)
    finally:
        numba.set_num_threads(threads)
    for name, mine, other in zip(("workers", "tasks"), many, one, strict=True):
        np.testing.assert_array_equal(mine, other, name)


def test_gradients_of_the_loops_equal_those_of_segment_operations() -> None:
    torch = pytest.importorskip("torch", reason="torch is an extra")
    from crowdfm_core.backends import torch_backend

    class SegmentOps(torch_backend.TorchOps):
        """The route that CUDA takes, on the CPU."""

        def pair_scores(self, z, tables, side):  # type: ignore[no-untyped-def]
            return torch_backend._segment_pair_scores(z, tables, self._index(side))

        def attention(self, q, z, o, cb, nb, centres, neighbours):  # type: ignore[no-untyped-def]
            return torch_backend._segment_attention(q, z, o, cb, nb, self._index(centres))

    config = AttentionConfig(width=6, layers=2, heads=2)
    task, worker, option = random_annotations(2)
    graph = graph_of(task, worker, option)
    gradients, outputs = [], []
    for ops in (torch_backend.TorchOps("cpu", torch.float64), SegmentOps("cpu", torch.float64)):
        tensors = {
            name: torch.from_numpy(value).requires_grad_()
            for name, value in random_tensors(config, 1).items()
        }
        options = ops.array(np.random.default_rng(3).standard_normal((OPTIONS, 6)))
        workers, tasks = AttentionModel(config, tensors, ops).encode(graph, options)
        ((tasks**3).sum() + (workers[:-1] ** 3).sum()).backward()
        outputs.append(tasks.detach().numpy())
        gradients.append({n: t.grad.numpy() for n, t in tensors.items() if t.grad is not None})
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-10)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradient, gradients[1][name], atol=1e-8, err_msg=name)


def test_graph_with_an_index_out_of_range_names_the_array_and_the_bound() -> None:
    with pytest.raises(ScoringError, match=r"option_row in \[0, 4\), got values from 0 to 4"):
        graph_of(np.array([0, 1]), np.array([0, 1]), np.array([0, 4]))
