"""Compatibility of pairs: factors against loops over annotations, ranking against full sorting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfm_core.assignments import answered_by, rank_workers
from crowdfm_core.backends.pair_kernels import best_workers
from crowdfm_core.candidates import MAX_DENSE_OPTIONS, CandidateGraph
from crowdfm_core.compatibility import (
    PairFactors,
    class_skill,
    crowd_log_odds,
    pair_factors,
    score_pairs,
)
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.weights import FrozenWeights
from tests.core.test_read_outs import CONFIG, pair_heads
from tests.core.test_unrolled import Rows, layout_of, random_rows, random_tensors

WEIGHTS = FrozenWeights(CONFIG, random_tensors(CONFIG), pair_heads())


def graph_of(rows: Rows, *, tasks: int, workers: int, options: int) -> AnnotationGraph:
    task, worker, option = np.array(rows).T
    return AnnotationGraph.from_arrays(
        task,
        worker,
        option,
        num_tasks=tasks,
        num_workers=workers,
        num_option_rows=options,
        task_option_start=np.zeros(tasks, np.int64),
        task_option_end=np.full(tasks, options),
    )


def two_components() -> AnnotationGraph:
    """Tasks 0..6 with workers 0..4, and tasks 7..13 with workers 5..9."""
    rows = random_rows(8) + [(t + 7, w + 5, o) for t, w, o in random_rows(9)]
    return graph_of(rows, tasks=14, workers=10, options=3)


def test_class_skill_equals_counts_over_single_annotations() -> None:
    rows = random_rows(2)
    layout = layout_of(rows, 3)
    posterior = np.random.default_rng(1).dirichlet(np.ones(3), 7)
    recall, belief = class_skill(layout, posterior.ravel())
    np.testing.assert_allclose(belief[:, :3], posterior)
    assert recall.shape == (5, MAX_DENSE_OPTIONS)
    assert not recall[:, 3:].any()
    for k in range(3):
        right = [
            [posterior[t, k] for t, w, o in rows if w == worker and o == k] for worker in range(5)
        ]
        total = [[posterior[t, k] for t, w, _ in rows if w == worker] for worker in range(5)]
        crowd = (sum(map(sum, right)) + 1) / (sum(map(sum, total)) + 2)
        for worker in range(5):
            share = (sum(right[worker]) + 4 * crowd) / (sum(total[worker]) + 4)
            assert recall[worker, k] == pytest.approx(math.log(share / (1 - share)))


def test_classes_of_tied_projects_are_not_told_apart() -> None:
    layout = layout_of(random_rows(2), 3, tied=True)
    recall, belief = class_skill(layout, np.full(layout.num_candidates, 0.5))
    assert not recall.any()
    assert not belief.any()


def test_crowd_log_odds_is_that_of_the_expected_share_of_right_answers() -> None:
    rows = [(0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 2)]
    posterior = np.array([0.1, 0.9, 0.0, 0.5, 0.2, 0.3])
    share = (0.9 + 0.9 + 0.5 + 0.3 + 1) / (4 + 2)
    [found] = crowd_log_odds(layout_of_two_tasks(rows), posterior)
    assert found == pytest.approx(math.log(share / (1 - share)))


def layout_of_two_tasks(rows: Rows) -> CandidateGraph:
    return CandidateGraph.of(graph_of(rows, tasks=2, workers=2, options=3))


def test_ranking_equals_sorting_all_pairs() -> None:
    graph = two_components()
    factors = pair_factors(WEIGHTS, graph)
    answered = set(
        zip(
            np.repeat(graph.tasks.pair_centre, np.diff(graph.tasks.entry_start)).tolist(),
            graph.tasks.neighbour.tolist(),
            strict=True,
        )
    )
    expected = []
    for task in range(14):
        own = range(5) if task < 7 else range(5, 10)
        free = [worker for worker in own if (task, worker) not in answered]
        value = {w: float(factors.worker[w] @ factors.task[task]) for w in free}
        best = sorted(free, key=lambda w: -value[w])[:2]
        expected += [(task, rank + 1, worker) for rank, worker in enumerate(best)]
    assert len({task for task, _, _ in expected}) > 10
    ranked = rank_workers(factors, answered_by(graph), top=2)
    found = zip(ranked.task_index, ranked.rank, ranked.worker_index, strict=True)
    assert [tuple(map(int, row)) for row in found] == expected
    scores = score_pairs(factors, ranked.task_index, ranked.worker_index)
    np.testing.assert_allclose(ranked.compatibility, scores, rtol=1e-12)
    assert ((ranked.compatibility > 0) & (ranked.compatibility < 1)).all()


def test_scores_are_logistic_in_the_inner_product() -> None:
    graph = two_components()
    factors = pair_factors(WEIGHTS, graph)
    task, worker = np.array([0, 8, 13]), np.array([4, 5, 9])
    expected = [
        1 / (1 + math.exp(-sum(factors.worker[w] * factors.task[t])))
        for t, w in zip(task, worker, strict=True)
    ]
    np.testing.assert_allclose(score_pairs(factors, task, worker), expected)


def test_components_score_together_as_apart() -> None:
    together = pair_factors(WEIGHTS, two_components())
    alone = pair_factors(WEIGHTS, graph_of(random_rows(8), tasks=7, workers=5, options=3))
    np.testing.assert_array_equal(together.worker[:5], alone.worker)
    np.testing.assert_array_equal(together.task[:7], alone.task)


def test_pair_of_two_components_is_refused() -> None:
    factors = pair_factors(WEIGHTS, two_components())
    with pytest.raises(ScoringError, match=r"got 1 across, the first task 0 with worker 9"):
        score_pairs(factors, np.array([0, 0]), np.array([1, 9]))


def test_task_without_annotations_has_no_ranked_worker() -> None:
    graph = graph_of([(0, 0, 0), (1, 0, 1), (1, 1, 1)], tasks=3, workers=2, options=2)
    ranked = rank_workers(pair_factors(WEIGHTS, graph), answered_by(graph), top=5)
    assert ranked.task_index.tolist() == [0]
    assert ranked.worker_index.tolist() == [1]


def test_weights_without_the_head_and_an_empty_ranking_are_refused() -> None:
    graph = two_components()
    with pytest.raises(ScoringError, match="no compatibility head"):
        pair_factors(FrozenWeights(CONFIG, random_tensors(CONFIG)), graph)
    with pytest.raises(ScoringError, match="expected top >= 1, got 0"):
        rank_workers(pair_factors(WEIGHTS, graph), answered_by(graph), top=0)


def test_equal_workers_rank_by_index() -> None:
    graph = graph_of(
        [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 2, 0), (1, 3, 0)], tasks=2, workers=4, options=2
    )
    factors = PairFactors(
        worker=np.array([[1.0], [2.0], [2.0], [2.0]]),
        task=np.ones((2, 1)),
        component_of_worker=np.zeros(4, np.int32),
        component_of_task=np.zeros(2, np.int32),
    )
    ranked = rank_workers(factors, answered_by(graph), top=2)
    assert ranked.task_index.tolist() == [0, 0]
    assert ranked.worker_index.tolist() == [1, 2]


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(-1, 2), min_size=6, max_size=6), min_size=1, max_size=9),
    st.lists(st.integers(0, 5), max_size=9),
    st.integers(1, 8),
)
def test_best_workers_equal_a_stable_sort(rows: list[list[int]], done: list[int], top: int) -> None:
    """Of as many tasks as there are factors, which pick the rows; `done` are left out for all."""
    score, worker = np.array(rows, float), np.arange(10, 16)
    start = len(done) * np.arange(len(rows) + 1)
    left_out = np.tile(worker[done], len(rows)) if done else np.zeros(0, np.int64)
    found, products = best_workers(np.eye(len(rows)), score, worker, start, left_out, top)
    for row, chosen, product in zip(score, found, products, strict=True):
        order = [int(c) for c in np.argsort(-row, kind="stable") if c not in done][:top]
        assert chosen.tolist() == order + [-1] * (top - len(order))
        assert product[: len(order)].tolist() == row[order].tolist()


def test_best_workers_of_many_are_found_tile_by_tile() -> None:
    rng = np.random.default_rng(2)
    task, facing = rng.normal(size=(20, 5)), rng.normal(size=(5, 2_000))
    nobody = np.zeros(21, np.int64)
    found, _ = best_workers(task, facing, np.arange(2_000), nobody, np.zeros(0, np.int64), 7)
    np.testing.assert_array_equal(found, np.argsort(-(task @ facing), axis=1)[:, :7])
