"""Bayesian methods against plain loops over the equations, and against Crowd-Kit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import MACE
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from crowdfm_core.methods import bcc, loops
from crowdfm_core.methods.answers import Answers
from crowdfm_core.methods.bcc import EBCC_SUBTYPES, ebcc, ibcc
from crowdfm_core.methods.bwa import bwa
from crowdfm_core.methods.mace import mace
from crowdfm_core.methods.special import chi_squared_quantile, digamma, digamma_and_log_gamma
from crowdfm_core.simulation_checks.world_results import answers_of
from tests.core.crowds_for_methods import (
    TINY,
    WORLDS,
    agreement,
    drawn,
    frame_of,
    probabilities_of,
    rows_of,
)

SMALL = answers_of(drawn("dawid_skene", tasks=25, seed=2))
graphs = pytest.mark.parametrize("answers", [TINY, SMALL])


def log_beta(alpha: np.ndarray) -> float:
    return float(special.gammaln(alpha).sum() - special.gammaln(alpha.sum()))


def plain_bcc(
    answers: Answers, state: np.ndarray, option_prior: np.ndarray, iterations: int
) -> tuple[np.ndarray, float]:
    """Mean-field updates with one Dirichlet object per worker, option and subtype.

    state: [T, K, M]. Returns posteriors [T, K] and the lower bound before the last E-step.
    """
    options, subtypes = state.shape[1:]
    bound = -np.inf
    entropy = np.nan
    for _ in range(iterations):
        mass = state.sum(axis=0)
        nu = option_prior + mass.sum(axis=1)
        eta = 0.1 + mass
        mu = np.ones((answers.num_workers, options, subtypes, options))
        for option in range(options):
            mu[:, option, :, option] = 4.0
        prior_mu = mu.copy()
        for task, worker, answer in rows_of(answers):
            for option in range(options):
                for subtype in range(subtypes):
                    mu[worker, option, subtype, answer] += state[task, option, subtype]
        bound = entropy + log_beta(nu) - log_beta(option_prior)
        bound += sum(log_beta(eta[k]) - log_beta(np.full(subtypes, 0.1)) for k in range(options))
        bound += sum(
            log_beta(mu[index]) - log_beta(prior_mu[index])
            for index in np.ndindex(answers.num_workers, options, subtypes)
        )
        scores = np.zeros_like(state)
        scores += (special.digamma(nu) - special.digamma(nu.sum()))[None, :, None]
        scores += special.digamma(eta) - special.digamma(eta.sum(axis=1, keepdims=True))
        for task, worker, answer in rows_of(answers):
            expected = special.digamma(mu[worker, :, :, answer])
            scores[task] += expected - special.digamma(mu[worker].sum(axis=-1))
        state = special.softmax(scores, axis=(1, 2))
        entropy = float(special.entr(state).sum())
    return state.sum(axis=2), bound


def vote_shares(answers: Answers) -> np.ndarray:
    shares = np.zeros((answers.num_tasks, answers.num_options))
    for task, _, option in rows_of(answers):
        shares[task, option] += 1.0
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


@graphs
@pytest.mark.parametrize("iterations", [1, 5])
def test_ibcc_equals_the_plain_equations(answers: Answers, iterations: int) -> None:
    result = ibcc(answers, max_iterations=iterations, tolerance=-np.inf)
    start = vote_shares(answers)[:, :, None]
    expected, _ = plain_bcc(answers, start, np.ones(answers.num_options), iterations)
    assert result.iterations == iterations
    np.testing.assert_allclose(probabilities_of(result), expected, atol=1e-8)


@graphs
def test_ebcc_equals_the_plain_equations_and_keeps_the_best_start(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three starts from one stream of draws; the plain route has its own lower bound and never
    leaves a subtype out."""
    monkeypatch.setattr(bcc, "_DROPPED_SHARE", 0.0)
    rng = np.random.default_rng(9)
    shares = vote_shares(answers)
    plain = []
    for _ in range(3):
        draw = rng.standard_exponential((*shares.shape, EBCC_SUBTYPES))
        state = shares[:, :, None] * draw / draw.sum(axis=2, keepdims=True)
        plain.append(plain_bcc(answers, state, shares.sum(axis=0), 8))
    result = ebcc(answers, seed=9, num_starts=3, max_iterations=8, tolerance=-np.inf)
    best = max(plain, key=lambda run: run[1])[0]
    np.testing.assert_allclose(probabilities_of(result), best, atol=1e-7)
    others = [np.abs(best - posterior).max() for posterior, _ in plain]
    assert sorted(others)[1] > 1e-5, "the starts should differ, or the choice is not tested"


@pytest.mark.parametrize("seed", range(3))
def test_subtypes_left_out_of_ebcc_are_not_missed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same labels as with all subtypes to the end, and nearly the same probabilities."""
    answers = answers_of(drawn("dawid_skene", options=4, tasks=600, answers=8, seed=seed))
    states: list[int] = []

    def counting(*arguments: Any) -> float:
        states.append(len(arguments[4]))
        return float(loops.expect_states(*arguments))

    monkeypatch.setattr(bcc, "expect_states", counting)
    fast = ebcc(answers, seed=seed)
    assert states[-1] < states[0] / 3, "most subtypes should have been left out"
    monkeypatch.setattr(bcc, "_DROPPED_SHARE", 0.0)
    full = ebcc(answers, seed=seed)
    np.testing.assert_array_equal(fast.label, full.label)
    np.testing.assert_allclose(probabilities_of(fast), probabilities_of(full), atol=1e-3)
    np.testing.assert_allclose(fast.worker_score, full.worker_score, atol=1e-3)


def test_lower_bound_of_bcc_never_falls() -> None:
    start, prior = vote_shares(SMALL)[:, :, None], np.ones(SMALL.num_options)
    bounds = [plain_bcc(SMALL, start, prior, iterations)[1] for iterations in range(2, 12)]
    assert (np.diff(bounds) > -1e-9).all()


def test_ebcc_is_a_function_of_its_seed() -> None:
    answers = answers_of(drawn("dawid_skene"))
    first, again, other = (ebcc(answers, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(probabilities_of(first), probabilities_of(again))
    assert (probabilities_of(first) != probabilities_of(other)).any()


@graphs
def test_bwa_equals_the_plain_equations(answers: Answers) -> None:
    """Mean, precisions and values of each option in turn, for seven rounds."""
    rows = rows_of(answers)
    shares = vote_shares(answers)
    options = answers.num_options
    count = np.zeros(answers.num_workers)
    for _, worker, _ in rows:
        count[worker] += 1
    values = np.zeros_like(shares)
    precisions = np.zeros((options, answers.num_workers))
    for option in range(options):
        z = shares[:, option].copy()
        spread = np.mean([z[task] * (1 - z[task]) for task, _, _ in rows])
        rate = 15.0 * spread * 4.0 * (1.0 - 1.0 / options)
        for _ in range(7):
            squares = np.zeros(answers.num_workers)
            for task, worker, answer in rows:
                squares[worker] += (z[task] - (answer == option)) ** 2
            precision = (15.0 + count) / (rate + squares)
            above, below = np.full(len(z), z.mean()), np.ones(len(z))
            for task, worker, answer in rows:
                above[task] += precision[worker] * (answer == option)
                below[task] += precision[worker]
            z = above / below
        values[:, option], precisions[option] = z, precision
    result = bwa(answers, max_iterations=7, tolerance=-1.0)
    expected = values / values.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities_of(result), expected, atol=1e-10)
    np.testing.assert_allclose(result.worker_score, precisions.mean(axis=0), rtol=1e-10)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("options", [2, 5])
def test_mace_equals_crowd_kit_at_the_maximum(world: str, options: int) -> None:
    """Crowd-Kit numbers options by appearance in one step and by size in the next, so that they
    are named by appearance here; its restarts all draw the same start, so that one is enough."""
    crowd = answers_of(drawn(world, options=options, answers=7))
    answers = replace(
        crowd,
        worker_index=pd.factorize(crowd.worker_index)[0].astype(np.int32),
        option_index=pd.factorize(crowd.option_index)[0].astype(np.int32),
    )
    other = MACE(n_restarts=1, n_iter=250).fit(frame_of(answers))
    result = mace(answers, max_iterations=1_000, tolerance=1e-10)
    assert other.probas_ is not None
    expected = other.probas_.sort_index(axis=0).sort_index(axis=1)
    np.testing.assert_allclose(probabilities_of(result), expected, atol=1e-3)
    assert agreement(result, other.labels_) >= 0.995
    assert agreement(mace(answers), other.labels_) >= 0.995


@given(st.floats(1e-6, 1e8))
def test_gamma_functions_equal_scipy(x: float) -> None:
    digamma_value, log_gamma_value = digamma_and_log_gamma(x)
    assert digamma_value == pytest.approx(special.digamma(x), rel=1e-9, abs=1e-10)
    assert log_gamma_value == pytest.approx(special.gammaln(x), rel=1e-10, abs=1e-10)
    assert digamma(np.array([[x]]))[0, 0] == digamma_value


@given(st.floats(1e-4, 0.4), st.integers(1, 200_000))
def test_chi_squared_quantile_equals_scipy(probability: float, degrees: int) -> None:
    ours = chi_squared_quantile(probability, np.array([float(degrees)]))[0]
    assert ours == pytest.approx(stats.chi2.ppf(probability, degrees), rel=1e-8)
