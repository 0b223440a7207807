"""The worlds of the classical models: their formulas, and that the right method is right there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene

from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.pretraining.recipe import read_recipe, recipe_from_mapping
from crowdfm_core.simulation import (
    Acceptance,
    DawidSkeneCrowds,
    GladCrowds,
    GroupedCrowds,
    OneCoinCrowds,
    Shape,
    SimulatedCrowd,
    SubtypedCrowds,
    WorldDraw,
)
from crowdfm_core.simulation.classes import ClassImbalance
from tests.core.rich_crowds import assert_counts_follow, right
from tests.core.test_simulation import assert_consistent

WORLDS = [DawidSkeneCrowds, GladCrowds, GroupedCrowds, OneCoinCrowds, SubtypedCrowds]
World = DawidSkeneCrowds | GladCrowds | GroupedCrowds | OneCoinCrowds | SubtypedCrowds
RECIPE = Path(__file__).parents[2] / "conf" / "pretraining" / "unrolled.yaml"


def world(
    kind: type[World], tasks: int, workers: int, options: int, answers: int, **settings: Any
) -> World:
    """A balanced world of exact sizes, accuracy 0.4 of the way from chance to certainty."""
    fixed: dict[str, Any] = {
        "shape": Shape.exact(
            tasks=tasks, workers=workers, options=options, answers_per_task=answers
        ),
        "strength": (0.4, 0.4),
        "class_imbalance": ClassImbalance(probability=0),
        "acceptance": Acceptance(attempts=1),
    }
    return kind(**{**fixed, **settings})


def draw(generator: World, seed: int = 1) -> WorldDraw:
    return generator.draw(np.random.default_rng(seed))


def counts_of(crowd: SimulatedCrowd) -> np.ndarray:
    """Counts of (worker, truth, answer), [W, K, K]."""
    counts = np.zeros((crowd.num_workers, crowd.num_options, crowd.num_options))
    truth = crowd.true_option[crowd.task_index]
    np.add.at(counts, (crowd.worker_index, truth, crowd.option_index), 1)
    return counts


@pytest.mark.parametrize("kind", WORLDS)
def test_world_draws_consistent_crowds_by_seed(kind: type[World]) -> None:
    for seed in range(15):
        crowd = draw(kind(), seed).crowd
        assert_consistent(crowd)
        assert np.isfinite(crowd.worker_ability).all()
        has_difficulty = kind in (GladCrowds, SubtypedCrowds)
        assert np.isfinite(crowd.task_difficulty).all() == has_difficulty
        assert np.isnan(crowd.task_difficulty).all() != has_difficulty
        again = kind().sample(np.random.default_rng(seed))
        np.testing.assert_array_equal(crowd.option_index, again.option_index)


@pytest.mark.parametrize("kind", [DawidSkeneCrowds, GroupedCrowds, OneCoinCrowds, SubtypedCrowds])
@pytest.mark.parametrize("options", [2, 4, 8])
def test_answers_follow_the_confusion_matrices(kind: type[World], options: int) -> None:
    drawn = draw(world(kind, 4000, 20, options, 10))
    np.testing.assert_allclose(drawn.confusion.sum(axis=2), 1)
    assert_counts_follow(
        counts_of(drawn.crowd).reshape(-1, options), drawn.confusion.reshape(-1, options)
    )
    accuracy = np.einsum("wkk,k->w", drawn.confusion, drawn.prior)
    np.testing.assert_allclose(1 / (1 + np.exp(-drawn.crowd.worker_ability)), accuracy, atol=4e-4)


@pytest.mark.parametrize("kind", WORLDS)
def test_strength_sets_the_mean_accuracy(kind: type[World]) -> None:
    generator = world(kind, 300, 400, 4, 10)
    accuracy = np.mean([right(draw(generator, seed).crowd).mean() for seed in range(40)])
    # Few groups, or subtypes, stray further from their common mean than many workers do.
    assert abs(accuracy - 0.55) < (0.04 if kind in (GroupedCrowds, SubtypedCrowds) else 0.01)


def test_concentration_decides_how_much_workers_differ() -> None:
    def spread(concentration: float) -> float:
        some = {"concentration": (concentration, concentration)}
        drawn = draw(world(DawidSkeneCrowds, 300, 300, 4, 10, **some))
        return float(drawn.confusion[:, 0, 0].std())

    # Standard deviation of a Beta variable of mean 0.55.
    assert abs(spread(4.0) - np.sqrt(0.55 * 0.45 / 5)) < 0.03
    assert abs(spread(100.0) - np.sqrt(0.55 * 0.45 / 101)) < 0.005


def test_shared_bias_moves_the_whole_crowd_to_the_same_answers() -> None:
    def of_columns(bias: float) -> np.ndarray:
        some: dict[str, Any] = {"shared_bias": (bias, bias), "bias_concentration": 0.3}
        drawn = draw(world(DawidSkeneCrowds, 300, 400, 4, 10, **some))
        share: np.ndarray = drawn.confusion.mean(axis=(0, 1))
        return share

    assert np.ptp(of_columns(0.0)) < 0.03
    assert np.ptp(of_columns(0.5)) > 0.1


def test_class_spread_makes_classes_unequal_for_everybody() -> None:
    equal, unequal = (
        draw(world(DawidSkeneCrowds, 300, 400, 4, 10, class_spread=(spread, spread)))
        .confusion.mean(axis=0)
        .diagonal()
        for spread in (0.0, 1.5)
    )
    assert np.ptp(equal) < 0.05
    assert np.ptp(unequal) > 0.2


def test_members_of_a_group_are_alike() -> None:
    drawn = draw(world(GroupedCrowds, 300, 200, 3, 10, groups=(3, 3)), seed=2)
    flat, group = drawn.confusion.reshape(200, 9), drawn.group_of_worker
    centres = np.array([flat[group == g].mean(axis=0) for g in range(3)])
    inside = np.linalg.norm(flat - centres[group], axis=1).mean()
    between = np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean()
    assert between > 2 * inside


@pytest.mark.parametrize("subtypes", [1, 3])
def test_errors_on_a_task_meet_where_classes_have_subtypes(subtypes: int) -> None:
    """Given the class, two workers' errors are independent unless there are subtypes."""
    settings: dict[str, Any] = {"subtypes": (subtypes, subtypes), "class_spread": (0.0, 0.0)}
    settings |= {"subtype_concentration": (5.0, 5.0), "concentration": (20.0, 20.0)}
    excess = []
    for seed in range(10):
        crowd = draw(world(SubtypedCrowds, 2000, 30, 2, 10, **settings), seed).crowd
        wrong = 10 - np.bincount(crowd.task_index, weights=right(crowd))
        for truth in range(2):
            share = wrong[crowd.true_option == truth] / 10
            excess.append(share.var() / (share.mean() * (1 - share.mean()) / 10))
    if subtypes == 1:
        assert np.mean(excess) < 1.1
    else:
        assert np.mean(excess) > 1.5


def test_glad_answers_follow_ability_and_ease() -> None:
    spread = {"ease_spread": (1.2, 1.2), "ability_spread": (1.0, 1.0)}
    drawn = draw(world(GladCrowds, 3000, 50, 2, 40, **spread))
    crowd = drawn.crowd
    accuracy = np.bincount(crowd.task_index, weights=right(crowd)) / 40
    hard = crowd.task_discrimination < np.quantile(crowd.task_discrimination, 0.1)
    easy = crowd.task_discrimination > np.quantile(crowd.task_discrimination, 0.9)
    assert abs(accuracy[hard].mean() - 0.5) < 0.06  # sigmoid(alpha beta) with beta near 0
    assert accuracy[easy].mean() > 0.75
    overall = np.log(accuracy.mean() / (1 - accuracy.mean()))
    predicted = 1 / (1 + np.exp(crowd.task_difficulty - overall))
    for some in (hard, easy):
        assert abs(accuracy[some].mean() - predicted[some].mean()) < 0.02
    loads = np.bincount(crowd.worker_index)
    observed = np.bincount(crowd.worker_index, weights=right(crowd)) / loads
    expected = 1 / (1 + np.exp(-crowd.worker_ability))
    assert np.abs(observed - expected).max() < 0.05


@pytest.mark.parametrize("options", [2, 4])
def test_dawid_skene_beats_majority_voting_in_its_own_world(options: int) -> None:
    concentration = {"concentration": (3.0, 3.0)}
    crowd = draw(world(DawidSkeneCrowds, 600, 40, options, 8, **concentration)).crowd
    votes = count_votes(crowd.task_index, crowd.option_index, num_tasks=crowd.num_tasks)
    majority = votes.credit(crowd.true_option).mean()
    frame = pd.DataFrame(
        {"task": crowd.task_index, "worker": crowd.worker_index, "label": crowd.option_index}
    )
    labels = DawidSkene(n_iter=40).fit_predict(frame).sort_index().to_numpy()
    assert (labels == crowd.true_option).mean() > majority + 0.03


def test_recipe_draws_from_every_mechanism_and_reads_back() -> None:
    recipe = read_recipe(RECIPE)
    assert recipe_from_mapping(recipe.to_mapping(), where="again") == recipe
    rng = np.random.default_rng(1)
    for mechanism in recipe.mechanisms:
        assert_consistent(mechanism.crowds.sample(rng))
    dense = {m.name: m.crowds for m in recipe.mechanisms}["rich_dense_tasks"].sample(rng)
    assert dense.num_annotations / dense.num_tasks > 25
    assert dense.num_annotations <= 20_000
