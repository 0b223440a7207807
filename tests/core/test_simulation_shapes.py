"""Graphs of simulated crowds: sizes, budgets, redundancy, loads, batches, exact assignment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfm_core.errors import ConfigError
from crowdfm_core.simulation import Shape, assignment
from crowdfm_core.simulation.shapes import (
    DrawnShape,
    TaskBatches,
    UnevenLoads,
    UnevenRedundancy,
)
from tests.core.test_simulation import gini

PLAIN = Shape(
    redundancy=UnevenRedundancy(probability=0),
    loads=UnevenLoads(probability=0),
    batches=TaskBatches(probability=0),
)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_sound(drawn: DrawnShape) -> None:
    """Ordered by task, nobody isolated, no pair twice."""
    assert (np.diff(drawn.task_index) >= 0).all()
    assert (np.bincount(drawn.task_index, minlength=drawn.num_tasks) > 0).all()
    assert (np.bincount(drawn.worker_index, minlength=drawn.num_workers) > 0).all()
    assert drawn.task_index.max() + 1 == drawn.num_tasks
    assert drawn.worker_index.max() + 1 == drawn.num_workers
    pairs = drawn.task_index.astype(np.int64) * drawn.num_workers + drawn.worker_index
    assert len(np.unique(pairs)) == len(pairs)
    assert drawn.task_index.dtype == drawn.worker_index.dtype == np.int32


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32),
    annotations=st.integers(1, 3000),
    answers=st.floats(1, 200),
    load=st.floats(1, 2000),
    most=st.integers(1, 3000),
)
def test_graph_of_any_shape_is_sound_and_within_the_budget(
    seed: int, annotations: int, answers: float, load: float, most: int
) -> None:
    shape = Shape(
        annotations=(annotations, annotations),
        answers_per_task=(answers, answers),
        answers_per_worker=(load, load),
        max_annotations=most,
    )
    drawn = shape.sample(rng_of(seed))
    assert_sound(drawn)
    assert len(drawn.task_index) <= most


def test_exact_shape_has_exactly_its_sizes() -> None:
    drawn = Shape.exact(tasks=750, workers=60, options=4, answers_per_task=10).sample(rng_of(1))
    assert_sound(drawn)
    assert (drawn.num_tasks, drawn.num_workers, drawn.num_options) == (750, 60, 4)
    assert (np.bincount(drawn.task_index) == 10).all()


def test_default_shapes_cover_small_and_large_crowds() -> None:
    drawn = [Shape().sample(rng_of(seed)) for seed in range(150)]
    options = [d.num_options for d in drawn]
    assert 0.1 < np.mean([k == 2 for k in options]) < 0.55
    assert {2, 3, 4, 5} < set(options)
    assert max(options) > 10
    mean_answers = [len(d.task_index) / d.num_tasks for d in drawn]
    assert min(mean_answers) < 3
    assert max(mean_answers) > 22
    loads = [np.bincount(d.worker_index) for d in drawn]
    assert min(load.min() for load in loads) == 1
    assert max(load.max() for load in loads) > 2000
    assert min(d.num_workers for d in drawn) <= 12
    assert max(d.num_workers for d in drawn) > 1000


def test_dense_tasks_with_sparse_workers() -> None:
    shape = replace(
        PLAIN, annotations=(20_000, 20_000), answers_per_task=(100, 100), answers_per_worker=(2, 2)
    )
    drawn = shape.sample(rng_of(3))
    assert_sound(drawn)
    assert (np.bincount(drawn.task_index) == 100).all()
    assert 8_000 < drawn.num_workers <= 10_000  # those whom no task chose are gone
    assert np.bincount(drawn.worker_index).max() < 15


def test_cells_bound_a_crowd_of_many_options() -> None:
    shape = replace(
        PLAIN,
        annotations=(50_000, 50_000),
        answers_per_task=(3, 3),
        answers_per_worker=(5, 5),
        options=(40, 40),
        binary=0.0,
        max_cells=500_000,
    )
    drawn = shape.sample(rng_of(1))
    cells = drawn.num_tasks * 40 + drawn.num_workers * 1600
    assert 250_000 < cells <= 510_000
    free = replace(shape, max_cells=10**9).sample(rng_of(1))
    assert len(free.task_index) > 10 * len(drawn.task_index)


def test_redundancy_is_fixed_poisson_or_wider() -> None:
    rng = rng_of(4)
    fixed = UnevenRedundancy(probability=0).sample(rng, 6.4, 1000)
    assert (fixed == 6).all()
    poisson = UnevenRedundancy(probability=1, variation=(0, 0)).sample(rng, 20.0, 20_000)
    wider = UnevenRedundancy(probability=1, variation=(0.8, 0.8)).sample(rng, 20.0, 20_000)
    for answers in (poisson, wider):
        assert abs(answers.mean() - 20) < 0.5
    assert abs(poisson.var() / 20 - 1) < 0.05
    assert abs(wider.var() / (20 + (0.8 * 20) ** 2) - 1) < 0.1  # of a gamma-mixed Poisson law
    assert UnevenRedundancy(probability=1).sample(rng, 1.0, 1000).min() == 1


def test_loads_are_heavy_tailed_only_where_switched_on() -> None:
    wide = replace(PLAIN, annotations=(20_000, 20_000), answers_per_task=(5, 5))
    wide = replace(wide, answers_per_worker=(40, 40))
    heavy = replace(wide, loads=UnevenLoads(probability=1, pareto_exponent=(1, 1)))
    even_gini, heavy_gini = (
        np.mean([gini(np.bincount(s.sample(rng_of(seed)).worker_index)) for seed in range(20)])
        for s in (wide, heavy)
    )
    assert even_gini < 0.12
    assert heavy_gini > 0.45


def test_tasks_of_a_batch_have_the_same_workers() -> None:
    shape = replace(
        PLAIN,
        annotations=(2000, 2000),
        answers_per_task=(5, 5),
        answers_per_worker=(20, 20),
        batches=TaskBatches(probability=1, tasks=(8, 8)),
    )

    def teams(drawn: DrawnShape) -> int:
        return len({tuple(sorted(row)) for row in drawn.worker_index.reshape(-1, 5).tolist()})

    drawn = shape.sample(rng_of(2))
    assert_sound(drawn)
    assert drawn.num_tasks == 400
    assert teams(drawn) == 50
    rows = np.sort(drawn.worker_index.reshape(50, 8, 5), axis=2)
    assert (rows == rows[:, :1]).all()
    apart = replace(shape, batches=TaskBatches(probability=0)).sample(rng_of(2))
    assert teams(apart) > 350


@pytest.mark.parametrize("rounds", [1, 6])
def test_sparse_assignment_follows_successive_sampling(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One round leaves most tasks to the clocks; both ways must give the same probabilities.
    monkeypatch.setattr(assignment, "_DENSE_WORKERS_PER_ANSWER", 0)
    monkeypatch.setattr(assignment, "_ROUNDS", rounds)
    share = np.array([0.1, 0.2, 0.3, 0.4])
    task, worker = assignment.assign_sparsely(rng_of(5), np.full(60_000, 2, np.int32), 7 * share)
    assert (np.bincount(task) == 2).all()
    first, second = np.sort(worker.reshape(-1, 2), axis=1).T
    assert (first < second).all()
    for a in range(4):
        for b in range(a + 1, 4):
            p, q = share[a], share[b]
            expected = p * q / (1 - p) + p * q / (1 - q)
            observed = ((first == a) & (second == b)).mean()
            assert abs(observed - expected) < 4 * np.sqrt(expected / 60_000), (a, b)


def test_graph_depends_on_the_seed_alone() -> None:
    first, again, other = (Shape().sample(rng_of(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.task_index, again.task_index)
    np.testing.assert_array_equal(first.worker_index, again.worker_index)
    assert first.num_options == again.num_options
    assert len(first.task_index) != len(other.task_index)


def test_impossible_shapes_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)annotations.*options.*binary.*max_cells"):
        Shape(annotations=(9, 8), options=(1, 3), binary=1.5, max_cells=0)
    with pytest.raises(ConfigError, match="probability"):
        TaskBatches(probability=-0.1)
