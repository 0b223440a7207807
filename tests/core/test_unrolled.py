"""The unrolled model: against loops, the same on every backend, and blind to order and names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from crowdfm_core.backends import candidate_kernels, learn_kernels
from crowdfm_core.backends.layouts import wide_norm
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.backends.unrolled_numpy import CompiledUnrolledModel
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.errors import WeightsError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.unrolled import UnrolledConfig, UnrolledModel, UnrolledOutputs
from crowdfm_core.pretraining.objective import loss_of
from crowdfm_core.pretraining.packing import pack_crowds
from crowdfm_core.scoring import AnnotationBatch, Scorer
from crowdfm_core.simulation import ThreeParameterLogisticCrowds
from crowdfm_core.weights import FrozenWeights, load_weights, save_weights
from tests.core.direct_unrolled import direct_unrolled

CONFIG = UnrolledConfig(width=6, layers=3, hidden=8)
Rows = list[tuple[int, int, int]]


def random_tensors(config: UnrolledConfig, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0.0, 0.5, shape) + name.endswith("scale")
        for name, shape in config.tensor_shapes().items()
    }


def random_rows(seed: int, *, tasks: int = 7, workers: int = 5, options: int = 3) -> Rows:
    """One component: worker 0 answers every task."""
    rng = np.random.default_rng(seed)
    pairs = [(t, w) for t in range(tasks) for w in range(workers) if w == 0 or rng.random() < 0.5]
    return [(t, w, int(rng.integers(0, options))) for t, w in pairs]


def layout_of(rows: Rows, options: int, *, tied: bool = False) -> CandidateGraph:
    task, worker, option = np.array(rows).T
    graph = AnnotationGraph.from_arrays(
        task,
        worker,
        option,
        num_tasks=int(task.max()) + 1,
        num_workers=int(worker.max()) + 1,
        num_option_rows=options,
    )
    return CandidateGraph.of(graph, max_dense_options=0 if tied else 16)


def run(
    layout: CandidateGraph,
    ops: Any,
    config: UnrolledConfig = CONFIG,
    model: type[UnrolledModel] = UnrolledModel,
) -> UnrolledOutputs:
    tensors = {name: ops.array(value) for name, value in random_tensors(config).items()}
    return model(config, tensors, ops).run(layout)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("statistics", "shared"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("options", [1, 2, 4, 7])  # the loops take four candidates, two or one
def test_compiled_steps_equal_those_on_whole_arrays(
    tied: bool, statistics: bool, shared: bool, options: int
) -> None:
    # Neither the width nor the hidden width is a multiple of four here.
    config = UnrolledConfig(width=6, layers=2, hidden=9, statistics=statistics, shared=shared)
    rows = random_rows(4, tasks=40, workers=9, options=options)
    rows += [] if tied else [(41, 0, 0)]  # nobody answered task 40
    layout = layout_of(rows, options, tied=tied)
    for dtype, error in ((np.float64, 1e-12), (np.float32, 2e-5)):
        ops = NumpyOps(dtype)
        compiled, whole = run(layout, ops, config, CompiledUnrolledModel), run(layout, ops, config)
        for ours, theirs in zip(compiled.logits, whole.logits, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=error)
        np.testing.assert_allclose(compiled.log_posterior, whole.log_posterior, atol=error)
        np.testing.assert_allclose(compiled.workers, whole.workers, atol=10 * error)
        np.testing.assert_allclose(compiled.tasks, whole.tasks, atol=10 * error)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("statistics", "shared"), [(True, True), (True, False), (False, True)])
def test_logits_equal_those_of_loops(tied: bool, statistics: bool, shared: bool) -> None:
    config = dataclasses.replace(CONFIG, statistics=statistics, shared=shared)
    rows = random_rows(2)
    layout = layout_of(rows, 3, tied=tied)
    logits = run(layout, NumpyOps(np.float64), config).logits[-1][:, 0]
    expected = direct_unrolled(config, random_tensors(config), rows, num_options=3, tied=tied)
    keys = list(zip(layout.candidate_task.tolist(), layout.candidate_option.tolist(), strict=True))
    assert set(keys) == set(expected)
    np.testing.assert_allclose(logits, [expected[key] for key in keys], atol=1e-9)


@pytest.mark.parametrize("tied", [False, True])
def test_order_and_names_leave_no_trace(tied: bool) -> None:
    rng = np.random.default_rng(3)
    rows = random_rows(3)
    task, worker, option = (rng.permutation(n) for n in (7, 5, 3))
    renamed = [(int(task[t]), int(worker[w]), int(option[o])) for t, w, o in rows]
    renamed = [renamed[i] for i in rng.permutation(len(rows))]
    before, after = (layout_of(each, 3, tied=tied) for each in (rows, renamed))
    ops = NumpyOps(np.float64)
    found = {}
    for layout in (before, after):
        logits = run(layout, ops).logits[-1][:, 0]
        found[layout is after] = dict(
            zip(
                zip(layout.candidate_task.tolist(), layout.candidate_option.tolist(), strict=True),
                logits,
                strict=True,
            )
        )
    for (t, k), value in found[False].items():
        assert found[True][int(task[t]), int(option[k])] == pytest.approx(value, abs=1e-9)


def two_projects() -> CandidateGraph:
    """Three options laid out densely beside twenty that are tied."""
    first, second = random_rows(4), random_rows(5, options=20)
    rows = first + [(t + 7, w + 5, o + 3) for t, w, o in second]
    task, worker, option = np.array(rows).T
    graph = AnnotationGraph.from_arrays(
        task,
        worker,
        option,
        num_tasks=14,
        num_workers=10,
        num_option_rows=23,
        task_option_start=np.repeat([0, 3], 7),
        task_option_end=np.repeat([3, 23], 7),
    )
    return CandidateGraph.of(graph)


def test_sums_along_annotations_equal_segment_sums_and_are_transposes() -> None:
    layout = two_projects()
    row, candidate = layout.links()
    rng = np.random.default_rng(1)
    of_rows = rng.normal(size=(layout.num_rows, 2))
    of_candidates = rng.normal(size=(layout.num_candidates, 2))
    ops = NumpyOps(np.float64)
    to_candidates = ops.rows_to_candidates(of_rows, layout)
    to_rows = ops.candidates_to_rows(of_candidates, layout)
    expected = np.zeros_like(of_candidates)
    np.add.at(expected, candidate, of_rows[row])
    np.testing.assert_allclose(to_candidates, expected, atol=1e-12)
    expected = np.zeros_like(of_rows)
    np.add.at(expected, row, of_candidates[candidate])
    np.testing.assert_allclose(to_rows, expected, atol=1e-12)
    assert (to_candidates * of_candidates).sum() == pytest.approx((of_rows * to_rows).sum())


def test_gradients_of_the_loops_equal_those_of_segment_operations() -> None:
    """Torch's own index operations, which CUDA runs, are the second route to every gradient."""
    layout = two_projects()
    results = []
    for on_cpu in (True, False):
        ops = TorchOps("cpu", torch.float64)
        ops.uses_loops = on_cpu
        tensors = {
            name: torch.tensor(value, requires_grad=True)
            for name, value in random_tensors(CONFIG).items()
        }
        outputs = UnrolledModel(CONFIG, tensors, ops).run(layout)
        weight = torch.linspace(-1, 1, layout.num_candidates, dtype=torch.float64)
        sum((logits[:, 0] @ weight for logits in outputs.logits), outputs.tasks.sum()).backward()
        results.append((outputs, {name: t.grad for name, t in tensors.items()}))
    (one, gradients), (other, others) = results
    torch.testing.assert_close(one.logits[-1], other.logits[-1])
    torch.testing.assert_close(one.workers, other.workers)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], msg=name)
    in_numpy = run(layout, NumpyOps(np.float64))
    np.testing.assert_allclose(in_numpy.logits[-1], one.logits[-1].detach(), atol=1e-9)


def frozen(seed: int = 1) -> FrozenWeights:
    config = UnrolledConfig(width=24, layers=2, hidden=32)
    tensors = {name: value * 0.5 for name, value in random_tensors(config, seed).items()}
    heads = {
        f"heads.{name}.{part}": np.ones(width if part == "weight" else 1)
        for name, width in config.embedding_widths().items()
        for part in ("weight", "bias")
    }
    return FrozenWeights(config, tensors, heads, sha256="test")


def batch_of(*projects: tuple[Rows, int]) -> AnnotationBatch:
    rows: list[tuple[int, int, int]] = []
    task_project: list[int] = []
    workers = 0
    for number, (each, _) in enumerate(projects):
        rows += [(t + len(task_project), w + workers, o) for t, w, o in each]
        task_project += [number] * (max(t for t, _, _ in each) + 1)
        workers += max(w for _, w, _ in each) + 1
    task, worker, option = np.array(rows, np.int32).T
    return AnnotationBatch(
        task_index=task,
        worker_index=worker,
        option_index=option,
        task_project=np.array(task_project, np.int32),
        project_ids=[f"p{number}" for number in range(len(projects))],
        num_options=np.array([options for _, options in projects], np.int32),
        num_workers=workers,
    )


@pytest.mark.parametrize("other_options", [1, 3, 5_000])
def test_projects_packed_together_score_as_alone_to_the_last_bit(other_options: int) -> None:
    scorer = Scorer(frozen())
    mine = (random_rows(6, tasks=30, workers=8), 3)
    other = (random_rows(7, tasks=40, workers=9, options=other_options), other_options)
    alone, both = scorer.score(batch_of(mine)), scorer.score(batch_of(mine, other))
    for field in ("label_index", "probability", "entropy", "difficulty"):
        np.testing.assert_array_equal(getattr(both, field)[:30], getattr(alone, field), field)
    for field in ("ability", "expected_accuracy"):
        np.testing.assert_array_equal(getattr(both, field)[:8], getattr(alone, field), field)


def test_components_score_together_as_apart() -> None:
    """What is pooled over a crowd is pooled over its component, never over the whole project."""
    scorer = Scorer(frozen())
    one, two = random_rows(8), random_rows(9)
    together = scorer.score(batch_of(([*one, *((t + 7, w + 5, o) for t, w, o in two)], 3)))
    apart = [scorer.score(batch_of((rows, 3))) for rows in (one, two)]
    expected = np.concatenate([scored.probability for scored in apart])
    np.testing.assert_array_equal(together.probability, expected)


def test_tied_tasks_list_only_what_was_answered() -> None:
    scored = Scorer(frozen()).score(batch_of(([(0, 0, 17), (0, 1, 4), (1, 0, 4)], 20)))
    listed = np.split(scored.top_option_index, scored.top_offsets[1:-1])
    assert [sorted(options.tolist()) for options in listed] == [[4, 17], [4]]
    assert scored.runner_up_index.tolist() == [21 - scored.label_index[0], -1]
    assert scored.probability[1] == 1.0


def test_weights_come_back_as_saved_and_misfits_are_refused(tmp_path: Any) -> None:
    weights = frozen()
    save_weights(tmp_path, weights)
    again = load_weights(tmp_path)
    assert again.config == weights.config
    np.testing.assert_allclose(again.tensors["output.weight"], weights.tensors["output.weight"])
    broken = dataclasses.replace(weights, heads={"heads.ability.weight": np.ones(3)})
    with pytest.raises(WeightsError, match=r"heads\.ability\.weight: expected shape \(62,\)"):
        save_weights(tmp_path, broken)


def test_tasks_whose_truth_nobody_answered_weigh_nothing_when_tied() -> None:
    rng = np.random.default_rng(2)
    crowds = [ThreeParameterLogisticCrowds().sample(rng) for _ in range(3)]
    packed = pack_crowds(crowds, rng, model=CONFIG, tied_share=1.0)
    known = packed.true_candidate >= 0
    assert 0 < known.mean() < 1
    assert ((packed.task_weight > 0) == known).all()
    logits = torch.zeros(len(packed.candidate_task))
    sizes = np.bincount(packed.candidate_task)
    expected = (packed.task_weight * np.log(sizes)).sum()
    assert float(loss_of(logits, packed)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_both_ways_to_sum_candidates_by_rows_agree_to_the_last_bit(
    tied: bool, threads: int
) -> None:
    layout = layout_of(random_rows(5, tasks=60, workers=8, options=3), 3, tied=tied)
    x = np.random.default_rng(1).normal(size=(layout.num_candidates, 3)).astype(np.float32)
    number = len(layout.graph.workers.pair_option)
    ranges = np.array([0, number] if threads == 1 else [0, 3, number])
    few = candidate_kernels.candidates_to_few_rows(x, ranges, *layout.task_walk)
    np.testing.assert_array_equal(few, candidate_kernels.candidates_to_rows(x, *layout.worker_walk))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_that_are_summed_in_pieces_give_the_sums_of_all_to_the_last_bit(
    tied: bool, threads: int
) -> None:
    layout = layout_of(random_rows(5, tasks=5_000, workers=8, options=3), 3, tied=tied)
    assert layout.num_candidates > learn_kernels._PIECE
    rng = np.random.default_rng(1)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    states, posterior = drawn(layout.num_candidates, 16), drawn(layout.num_candidates)
    of_tasks = (states, posterior, wide_norm(drawn(6), drawn(6)), drawn(16, 32), drawn(32), 6)
    number = len(layout.graph.workers.pair_option)
    ranges = np.array([0, number] if threads == 1 else [0, 3, number])
    values = learn_kernels.task_values(*of_tasks)
    together = candidate_kernels.candidates_to_few_rows(values, ranges, *layout.task_walk)
    pieces = learn_kernels.learn_few_rows(*of_tasks, ranges, *layout.task_walk)
    np.testing.assert_array_equal(pieces, together)


def test_room_for_listed_annotations_is_enough_wherever_the_list_begins() -> None:
    degree = np.ones(300, int)
    degree[100:160] = 50  # across a multiple of the tasks that are listed at once
    pair_start = np.arange(301, dtype=np.int32)
    entry_start = np.concatenate([[0], np.cumsum(degree)]).astype(np.int32)
    tasks = candidate_kernels._TASKS
    most = max(degree[begin : begin + tasks].sum() for begin in range(300))
    assert candidate_kernels.most_listed(pair_start, entry_start) == most + 1
