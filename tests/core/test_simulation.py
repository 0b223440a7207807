"""The simulators: published ranges, the 3PL formula, worker loads, wrong answers, seeds."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfm_core.errors import ConfigError
from crowdfm_core.simulation import (
    CrowdGenerator,
    CrowdSizes,
    Mixture,
    SimulatedCrowd,
    ThreeParameterLogisticCrowds,
    UniformCrowds,
)
from crowdfm_core.simulation.item_response import probability_correct
from crowdfm_core.simulation.sizes import assign_workers

BOTH: list[CrowdGenerator] = [ThreeParameterLogisticCrowds(), UniformCrowds()]


def crowds(generator: CrowdGenerator, number: int, seed: int = 7) -> list[SimulatedCrowd]:
    rng = np.random.default_rng(seed)
    return [generator.sample(rng) for _ in range(number)]


def gini(loads: np.ndarray) -> float:
    """Gini coefficient of loads: 0 when all are equal, towards 1 when one worker does all."""
    ordered = np.sort(loads)
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * ordered.sum()))


def assert_consistent(crowd: SimulatedCrowd) -> None:
    """Every array fits the others, nobody is isolated, no (task, worker) pair repeats."""
    assert len(crowd.task_index) == len(crowd.worker_index) == len(crowd.option_index)
    assert (np.bincount(crowd.task_index, minlength=crowd.num_tasks) > 0).all()
    assert (np.bincount(crowd.worker_index, minlength=crowd.num_workers) > 0).all()
    assert crowd.task_index.max() == crowd.num_tasks - 1
    assert crowd.worker_index.max() == crowd.num_workers - 1
    pairs = crowd.task_index.astype(np.int64) * crowd.num_workers + crowd.worker_index
    assert len(np.unique(pairs)) == crowd.num_annotations
    assert (np.diff(crowd.task_index) >= 0).all()
    for options in (crowd.option_index, crowd.true_option):
        assert options.min() >= 0
        assert options.max() < crowd.num_options
    for parameters in (crowd.task_difficulty, crowd.task_discrimination, crowd.task_guessing):
        assert len(parameters) == crowd.num_tasks
    for index in (crowd.task_index, crowd.worker_index, crowd.option_index, crowd.true_option):
        assert index.dtype == np.int32


@pytest.mark.parametrize("generator", BOTH, ids=["three_parameter_logistic", "uniform"])
def test_crowd_with_published_sizes_stays_in_their_ranges(generator: CrowdGenerator) -> None:
    drawn = crowds(generator, 150)
    for crowd in drawn:
        assert_consistent(crowd)
        assert 100 <= crowd.num_tasks <= 300
        assert crowd.num_workers <= 100  # workers whom no task chose are gone
        assert 2 <= crowd.num_options <= 20
        assert np.bincount(crowd.task_index).min() >= 1
        assert 1.5 < crowd.num_annotations / crowd.num_tasks < 11
    assert {crowd.num_options for crowd in drawn} == set(range(2, 21))


def test_item_parameters_stay_in_their_ranges() -> None:
    for crowd in crowds(ThreeParameterLogisticCrowds(), 100):
        assert (crowd.task_discrimination >= 0.3).all()
        assert (crowd.task_discrimination <= 3.0).all()
        blind = 1 / crowd.num_options
        assert (crowd.task_guessing >= min(blind, 0.1)).all()
        assert (crowd.task_guessing <= max(blind + 0.05, 0.4)).all()
        for normal in (crowd.worker_ability, crowd.task_difficulty):
            assert abs(normal.mean()) < 3
            assert normal.std() < 3.5


@pytest.mark.parametrize("generator", BOTH, ids=["three_parameter_logistic", "uniform"])
def test_crowd_depends_on_the_seed_alone(generator: CrowdGenerator) -> None:
    first, again, other = (generator.sample(np.random.default_rng(seed)) for seed in (5, 5, 6))
    for field in fields(SimulatedCrowd):
        left, right = getattr(first, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(left, right)
    assert first.num_annotations != other.num_annotations


def test_answers_are_right_as_often_as_the_formula_says() -> None:
    predicted, observed = [], []
    for crowd in crowds(ThreeParameterLogisticCrowds(), 200):
        predicted.append(
            probability_correct(
                crowd.worker_ability[crowd.worker_index],
                crowd.task_difficulty[crowd.task_index],
                crowd.task_discrimination[crowd.task_index],
                crowd.task_guessing[crowd.task_index],
            )
        )
        observed.append(crowd.option_index == crowd.true_option[crowd.task_index])
    probability, right = np.concatenate(predicted), np.concatenate(observed)
    decile = np.digitize(probability, np.arange(0.1, 1.0, 0.1))
    for number in np.unique(decile):
        inside = decile == number
        expected = probability[inside].mean()
        error = np.sqrt(expected * (1 - expected) / inside.sum())
        assert abs(right[inside].mean() - expected) < 4 * error + 1e-12, f"decile {number}"


def test_probability_correct_follows_the_three_parameter_formula() -> None:
    # At equal ability and difficulty: halfway between guessing and certainty; far below: guessing.
    zero = np.zeros(3)
    found = probability_correct(np.array([0.0, -1e4, 1e4]), zero, zero + 1, zero + 0.2)
    np.testing.assert_allclose(found, [0.6, 0.2, 1.0])
    by_hand = 0.2 + 0.8 / (1 + np.exp(-1.7 * 2.0 * (0.5 - 0.1)))
    one = np.ones(1)
    found = probability_correct(0.5 * one, 0.1 * one, 2.0 * one, 0.2 * one)
    np.testing.assert_allclose(found, by_hand)


def test_wrong_answers_are_uniform_over_the_wrong_options() -> None:
    sizes = CrowdSizes(options=(5, 5))
    for generator in (ThreeParameterLogisticCrowds(sizes=sizes), UniformCrowds(sizes=sizes)):
        counts = np.zeros(5)
        truths = np.zeros(5)
        for crowd in crowds(generator, 100):
            shift = (crowd.option_index - crowd.true_option[crowd.task_index]) % 5
            counts += np.bincount(shift, minlength=5)
            truths += np.bincount(crowd.true_option, minlength=5)
        for observed in (counts[1:], truths):
            expected = observed.mean()
            chi2 = ((observed - expected) ** 2 / expected).sum()
            assert chi2 < 18.5, f"chi2 {chi2:.1f}: 99.9 % of draws with 4 degrees are below"


def test_loads_of_the_first_algorithm_are_heavier_tailed() -> None:
    heavy, even = (
        np.mean([gini(np.bincount(crowd.worker_index)) for crowd in crowds(generator, 100)])
        for generator in BOTH
    )
    assert heavy > 0.3
    assert even < 0.25


def test_assigned_workers_follow_their_propensity_without_replacement() -> None:
    rng = np.random.default_rng(3)
    propensity = np.array([1.0, 2.0, 3.0, 4.0])
    answers = np.ones(40_000, np.int32)
    _, worker = assign_workers(rng, answers, propensity)
    np.testing.assert_allclose(np.bincount(worker) / 40_000, propensity / 10, atol=0.01)
    task, worker = assign_workers(rng, np.full(50, 4, np.int32), propensity)
    assert (np.bincount(worker) == 50).all()  # all four answer every task
    assert (np.bincount(task) == 4).all()


def test_uniform_crowd_is_as_accurate_as_its_workers() -> None:
    error = []
    for crowd in crowds(UniformCrowds(), 100):
        accuracy = 1 / (1 + np.exp(-crowd.worker_ability))
        assert (accuracy >= 1 / crowd.num_options - 1e-9).all()
        right = crowd.option_index == crowd.true_option[crowd.task_index]
        error.append(right.mean() - accuracy[crowd.worker_index].mean())
        assert np.isnan(crowd.task_difficulty).all()
    assert abs(np.mean(error)) < 0.01


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    tasks=st.integers(1, 5),
    options=st.integers(2, 4),
    mean=st.floats(0, 6),
)
def test_crowd_of_any_tiny_size_is_consistent(
    seed: int, workers: int, tasks: int, options: int, mean: float
) -> None:
    sizes = CrowdSizes((1, workers), (1, tasks), (2, options), (mean, mean))
    for generator in (ThreeParameterLogisticCrowds(sizes=sizes), UniformCrowds(sizes=sizes)):
        assert_consistent(generator.sample(np.random.default_rng(seed)))


def test_mixture_draws_by_share() -> None:
    few = UniformCrowds(CrowdSizes(options=(2, 2)))
    many = UniformCrowds(CrowdSizes(options=(9, 9)))
    drawn = crowds(Mixture([few, many], [3, 1]), 400)
    share = np.mean([crowd.num_options == 2 for crowd in drawn])
    assert abs(share - 0.75) < 0.09  # four standard errors


@pytest.mark.parametrize("shares", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_mixture_with_impossible_shares_is_refused(shares: list[float]) -> None:
    with pytest.raises(ConfigError, match="share"):
        Mixture(list(BOTH), shares)


def test_impossible_ranges_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)workers.*low <= high.*options.*low end >= 2"):
        CrowdSizes(workers=(5, 4), options=(1, 3))
    with pytest.raises(ConfigError, match=r"ability_spread.*low end >= 0"):
        ThreeParameterLogisticCrowds(ability_spread=(-1.0, 1.0))
