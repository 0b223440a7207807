"""Gold: what it pins, what it teaches, and who ignores it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene, GoldMajorityVote, MajorityVote
from scipy import optimize, special

from crowdfm_core.errors import ScoringError, UndefinedMethodError
from crowdfm_core.methods.answers import Answers, Floats, IntArray
from crowdfm_core.methods.dawid_skene import dawid_skene
from crowdfm_core.methods.glad import glad
from crowdfm_core.methods.registry import METHODS, aggregate
from crowdfm_core.methods.weighted_votes import gold_majority_vote
from crowdfm_core.simulation_checks.world_results import answers_of
from tests.core.crowds_for_methods import (
    TINY,
    WORLDS,
    drawn,
    frame_of,
    probabilities_of,
    rows_of,
)

VOTES = ("gold_majority_vote", "weighted_dawid_skene")  # gold changes weights, not posteriors
PINNED = [m.name for m in METHODS.values() if m.uses_gold and m.name not in VOTES]
pinned_method = pytest.mark.parametrize("name", PINNED)


def crowd_with_gold(
    world: str = "dawid_skene", *, options: int = 3
) -> tuple[Answers, IntArray, IntArray]:
    """Answers, gold for every fourth task, and the whole truth."""
    crowd = drawn(world, options=options)
    gold = np.where(np.arange(crowd.num_tasks) % 4 == 0, crowd.true_option, -1)
    return answers_of(crowd), gold.astype(np.int32), crowd.true_option


def test_methods_that_fit_posteriors_use_gold() -> None:
    assert set(PINNED) == {
        "dawid_skene",
        "dawid_skene_clustered",
        "one_coin_dawid_skene",
        "glad",
        "ibcc",
        "ebcc",
        "mace",
    }


@pinned_method
def test_posteriors_of_gold_tasks_are_pinned(name: str) -> None:
    """Also where the gold option has no vote at all."""
    answers, gold, _ = crowd_with_gold()
    gold[0] = int(answers.votes()[0].argmin())
    result = aggregate(name, answers, gold=gold)
    known = gold >= 0
    np.testing.assert_array_equal(result.label[known], gold[known])
    np.testing.assert_allclose(probabilities_of(result)[known], np.eye(3)[gold[known]], atol=1e-12)


@pytest.mark.parametrize("name", [*PINNED, *VOTES])
def test_gold_turns_round_a_crowd_that_is_mostly_wrong(name: str) -> None:
    """12 of 20 workers answer the wrong one of two options 4 times in 5; 60 of 300 tasks are gold.
    Votes with weights of at least 0 can only learn to ignore them."""
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 300)
    task = np.repeat(np.arange(300, dtype=np.int32), 8)
    worker = np.concatenate([rng.permutation(20)[:8] for _ in range(300)]).astype(np.int32)
    right = rng.random(len(task)) < np.where(worker < 12, 0.2, 0.9)
    option = np.where(right, truth[task], 1 - truth[task]).astype(np.int32)
    answers = Answers(task, worker, option, 300, 20, 2)
    gold = np.where(np.arange(300) < 60, truth, -1)
    unknown = gold < 0
    with_gold = aggregate(name, answers, gold=gold).label
    assert (with_gold == truth)[unknown].mean() > (0.7 if name in VOTES else 0.9)
    if name != "gold_majority_vote":
        assert (aggregate(name, answers).label == truth)[unknown].mean() < 0.6


@pytest.mark.parametrize("world", WORLDS)
def test_dawid_skene_with_gold_equals_crowd_kit(world: str) -> None:
    answers, gold, _ = crowd_with_gold(world, options=4)
    known = pd.Series(gold[gold >= 0], index=np.flatnonzero(gold >= 0))
    other = DawidSkene(n_iter=12, tol=-np.inf).fit(frame_of(answers), known).probas_
    assert other is not None
    result = dawid_skene(answers, gold=gold, max_iterations=12, tolerance=-np.inf)
    expected = other.sort_index(axis=0).sort_index(axis=1)
    np.testing.assert_allclose(probabilities_of(result), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["dawid_skene", "one_coin_dawid_skene"])
def test_accuracies_with_all_tasks_gold_are_counted(name: str) -> None:
    """One coin: share of right answers. Dawid-Skene: the same by class, weighted by the classes."""
    answers, _, truth = crowd_with_gold()
    right, count = np.zeros((2, answers.num_workers, 3))
    for task, worker, option in rows_of(answers):
        count[worker, truth[task]] += 1
        right[worker, truth[task]] += option == truth[task]
    expected = right.sum(axis=1) / count.sum(axis=1)
    if name == "dawid_skene":
        expected = (right / count) @ (np.bincount(truth) / len(truth))
    result = aggregate(name, answers, gold=truth)
    np.testing.assert_allclose(result.worker_score, expected, atol=1e-8)


def test_ibcc_with_all_tasks_gold_adds_the_prior_to_the_counts() -> None:
    answers, _, truth = crowd_with_gold()
    counts = np.ones((answers.num_workers, 3, 3)) + 3.0 * np.eye(3)
    for task, worker, option in rows_of(answers):
        counts[worker, truth[task], option] += 1
    accuracy = np.diagonal(counts, axis1=1, axis2=2) / counts.sum(axis=2)
    weight = np.bincount(truth) + 0.1  # the pseudo-count of the only subtype
    expected = accuracy @ weight / weight.sum()
    np.testing.assert_allclose(
        aggregate("ibcc", answers, gold=truth).worker_score, expected, atol=1e-9
    )


def test_glad_with_all_tasks_gold_is_a_regression() -> None:
    """At the end the slope of the log posterior in the abilities is 0, with difficulties that are
    their own best answer to these abilities on a fine grid."""
    crowd = drawn("glad", options=2, tasks=400)
    answers, truth = answers_of(crowd).in_order(), crowd.true_option
    ability = glad(answers, gold=truth, tolerance=1e-12, max_iterations=5_000).worker_score
    right = answers.option_index == truth[answers.task_index]
    slope = -(ability - 1.0)
    for task in range(answers.num_tasks):
        rows = np.flatnonzero(answers.task_index == task)
        of_rows, sign = ability[answers.worker_index[rows]], np.where(right[rows], 1.0, -1.0)

        def loss(log_inverse: float, signed: Floats = sign * of_rows) -> float:
            likelihood = -np.logaddexp(0.0, -signed * np.exp(log_inverse)).sum()
            return float(0.5 * (log_inverse - 1.0) ** 2 - likelihood)

        found = optimize.minimize_scalar(loss, bounds=(-8, 8), options={"xatol": 1e-10})
        inverse = float(np.exp(found.x))
        error = right[rows] - special.expit(inverse * of_rows)
        np.add.at(slope, answers.worker_index[rows], error * inverse)
    assert np.abs(slope).max() < 0.01


def test_gold_majority_vote_equals_crowd_kit() -> None:
    answers, gold, _ = crowd_with_gold()
    known = pd.Series(gold[gold >= 0], index=np.flatnonzero(gold >= 0))
    fitted = GoldMajorityVote().fit(frame_of(answers), known)
    assert fitted.skills_ is not None
    voted = MajorityVote().fit(frame_of(answers), skills=fitted.skills_).probas_
    assert voted is not None
    result = gold_majority_vote(answers, gold=gold)
    np.testing.assert_allclose(result.worker_score, fitted.skills_.sort_index(), atol=1e-12)
    np.testing.assert_allclose(probabilities_of(result), voted.sort_index(), atol=1e-12)


def test_gold_majority_vote_trusts_a_worker_without_gold_like_the_others() -> None:
    """Gold for task 0 alone: workers 0 and 1 are right, 2 is wrong, 3 was not there."""
    result = gold_majority_vote(TINY, gold=np.array([0, -1, -1, -1, -1]))
    np.testing.assert_allclose(result.worker_score, [1.0, 1.0, 0.0, 2 / 3])
    np.testing.assert_allclose(probabilities_of(result)[2], [0.0, 0.4, 0.6])


@pytest.mark.parametrize("gold", [None, np.full(5, -1)])
def test_gold_majority_vote_needs_gold(gold: IntArray | None) -> None:
    with pytest.raises(UndefinedMethodError, match="nobody answered a gold task"):
        aggregate("gold_majority_vote", TINY, gold=gold)


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if not m.uses_gold])
def test_other_methods_ignore_gold(name: str) -> None:
    answers, gold, _ = crowd_with_gold(options=2)
    first, second = aggregate(name, answers), aggregate(name, answers, gold=gold)
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_array_equal(first.worker_score, second.worker_score)


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        (np.zeros(4, np.int32), "gold of 5 tasks, got 4"),
        (np.array([0, 0, 3, 0, 0]), r"gold in -1\.\.2, got 0\.\.3"),
        (np.array([0, 0, -2, 0, 0]), r"gold in -1\.\.2, got -2\.\.0"),
    ],
)
@pytest.mark.parametrize("name", ["majority_vote", "dawid_skene"])
def test_wrong_gold_is_refused(name: str, gold: IntArray, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        aggregate(name, TINY, gold=gold)


def test_gold_of_a_task_without_annotations_is_not_used() -> None:
    first = np.zeros(1, np.int32)
    known = Answers(first, first, first, 2, 1, 2).known_options(np.array([1, 1]))
    np.testing.assert_array_equal(known, [1, -1])
