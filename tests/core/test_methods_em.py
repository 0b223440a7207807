"""Methods fitted by EM against Crowd-Kit, and against plain loops over the equations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import GLAD, DawidSkene, MajorityVote, OneCoinDawidSkene
from scipy import special

from crowdfm_core.methods.answers import Answers
from crowdfm_core.methods.dawid_skene import dawid_skene, one_coin_dawid_skene
from crowdfm_core.methods.dawid_skene_clustered import dawid_skene_clustered
from crowdfm_core.methods.glad import glad
from crowdfm_core.methods.majority_vote import count_votes, majority_vote
from crowdfm_core.simulation_checks.world_results import answers_of
from tests.core.crowds_for_methods import (
    TINY,
    WORLDS,
    agreement,
    drawn,
    frame_of,
    probabilities_of,
)

worlds = pytest.mark.parametrize("world", WORLDS)
option_counts = pytest.mark.parametrize("options", [2, 5])


def in_order(probabilities: pd.DataFrame | None) -> np.ndarray:
    """Crowd-Kit's table [T, K] by task and option."""
    assert probabilities is not None
    return np.asarray(probabilities.sort_index(axis=0).sort_index(axis=1))


@worlds
@option_counts
def test_majority_vote_equals_crowd_kit_and_the_counted_votes(world: str, options: int) -> None:
    answers = answers_of(drawn(world, options=options))
    result, other = majority_vote(answers), MajorityVote().fit(frame_of(answers))
    np.testing.assert_allclose(probabilities_of(result), in_order(other.probas_), atol=1e-12)
    votes = count_votes(answers.task_index, answers.option_index, num_tasks=answers.num_tasks)
    np.testing.assert_array_equal(result.label, votes.labels())


# Crowd-Kit's rule for stopping counts the class priors once per annotation instead of once per
# task, so that the number of iterations differs. The iterations themselves are the same.


@worlds
@option_counts
def test_dawid_skene_equals_crowd_kit_iteration_by_iteration(world: str, options: int) -> None:
    answers = answers_of(drawn(world, options=options))
    other = DawidSkene(n_iter=12, tol=-np.inf).fit(frame_of(answers))
    result = dawid_skene(answers, max_iterations=12, tolerance=-np.inf)
    np.testing.assert_allclose(probabilities_of(result), in_order(other.probas_), atol=1e-9)
    assert agreement(result, other.labels_) == 1.0


@worlds
@option_counts
def test_one_coin_dawid_skene_equals_crowd_kit(world: str, options: int) -> None:
    answers = answers_of(drawn(world, options=options))
    other = OneCoinDawidSkene(n_iter=12, tol=-np.inf).fit(frame_of(answers))
    result = one_coin_dawid_skene(answers, max_iterations=12, tolerance=-np.inf)
    np.testing.assert_allclose(probabilities_of(result), in_order(other.probas_), atol=1e-9)
    np.testing.assert_allclose(result.worker_score, other.skills_.sort_index(), atol=1e-9)
    assert agreement(result, other.labels_) == 1.0


@pytest.mark.parametrize(("world", "options"), [("glad", 2), ("glad", 4)])
def test_glad_equals_crowd_kit_at_the_maximum(world: str, options: int) -> None:
    """Crowd-Kit's rule compares a sum with a mean and ends after two iterations: it is off here.

    Worlds where conjugate gradients take hundreds of iterations to the maximum are left out.
    """
    answers = answers_of(drawn(world, options=options, tasks=150))
    other = GLAD(n_iter=40, tol=-np.inf).fit(frame_of(answers))
    result = glad(answers, tolerance=1e-9)
    assert agreement(result, other.labels_) >= 0.995
    np.testing.assert_allclose(probabilities_of(result), in_order(other.probas_), atol=0.01)
    np.testing.assert_allclose(result.worker_score, other.alphas_.sort_index(), atol=0.01)


def plain_dawid_skene(answers: Answers, iterations: int) -> np.ndarray:
    """Equations (2.3) to (2.5) as sums over rows, without logarithms."""
    tasks, options = answers.num_tasks, answers.num_options
    rows = list(zip(answers.task_index, answers.worker_index, answers.option_index, strict=True))
    posterior = np.zeros((tasks, options))
    for task, _, option in rows:
        posterior[task, option] += 1
    posterior /= posterior.sum(axis=1, keepdims=True)
    for _ in range(iterations):
        prior = posterior.mean(axis=0)
        rate = np.full((answers.num_workers, options, options), 1e-10)
        for task, worker, option in rows:
            for truth in range(options):
                rate[worker, truth, option] += posterior[task, truth]
        rate /= rate.sum(axis=2, keepdims=True)
        for task in range(tasks):
            for truth in range(options):
                posterior[task, truth] = prior[truth]
                for other, worker, option in rows:
                    if other == task:
                        posterior[task, truth] *= rate[worker, truth, option]
        posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_dawid_skene_equals_the_plain_equations(iterations: int) -> None:
    result = dawid_skene(TINY, max_iterations=iterations, tolerance=-np.inf)
    assert result.iterations == iterations
    np.testing.assert_allclose(
        probabilities_of(result), plain_dawid_skene(TINY, iterations), atol=1e-7
    )


def plain_clustered(answers: Answers, iterations: int) -> tuple[np.ndarray, list[float]]:
    """Mean-field posteriors by one large einsum over the answers as a dense 0/1 array.

    Returns the posteriors of the options, and the lower bound after each iteration.
    """
    tasks, workers, options = answers.num_tasks, answers.num_workers, answers.num_options
    said = np.zeros((tasks, workers, options))
    np.add.at(said, (answers.task_index, answers.worker_index, answers.option_index), 1.0)
    theta = said.sum(axis=1) / said.sum(axis=(1, 2))[:, None]

    def rates(counts: np.ndarray) -> np.ndarray:  # over the last axis, the answer
        counts = np.maximum(counts, 1e-10)
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True))

    own = rates(np.einsum("tk,two->wko", theta, said))
    ranked = sorted(range(workers), key=lambda w: -round(np.linalg.norm(own[w], "nuc"), 9))
    phi = np.zeros((workers, 2))
    for group, members in enumerate((ranked[: (workers + 1) // 2], ranked[(workers + 1) // 2 :])):
        phi[members, group] = 1.0
    log_rate = np.log(np.stack([own[phi[:, g] == 1.0].mean(axis=0) for g in range(2)]))
    rho, tau = theta.mean(axis=0), phi.mean(axis=0)
    bounds = []
    for _ in range(iterations):
        scores = np.einsum("two,wg,gko->tk", said, phi, log_rate) + np.log(rho)
        theta = np.exp(scores - scores.max(axis=1, keepdims=True))
        theta /= theta.sum(axis=1, keepdims=True)
        scores = np.einsum("two,tk,gko->wg", said, theta, log_rate) + np.log(tau)
        phi = np.exp(scores - scores.max(axis=1, keepdims=True))
        phi /= phi.sum(axis=1, keepdims=True)
        log_rate = np.log(rates(np.einsum("two,tk,wg->gko", said, theta, phi)))
        rho, tau = theta.mean(axis=0), np.maximum(phi.mean(axis=0), 1e-10)
        bound = np.einsum("two,tk,wg,gko->", said, theta, phi, log_rate)
        bound += (theta @ np.log(rho)).sum() + (phi @ np.log(tau)).sum()
        bounds.append(float(bound + special.entr(theta).sum() + special.entr(phi).sum()))
    return theta, bounds


@worlds
@pytest.mark.parametrize("iterations", [1, 6])
def test_clustered_dawid_skene_equals_the_plain_equations(world: str, iterations: int) -> None:
    answers = answers_of(drawn(world, options=3, tasks=60))
    result = dawid_skene_clustered(answers, max_iterations=iterations, tolerance=-np.inf)
    expected, bounds = plain_clustered(answers, iterations)
    np.testing.assert_allclose(probabilities_of(result), expected, atol=1e-8)
    assert (np.diff(bounds) > -1e-8).all()


def test_clustered_dawid_skene_finds_two_groups() -> None:
    """Half of the workers name the option after the true one. One answer is little, but a group's
    hundreds are not: with 3 answers a worker, only the groups can be told apart."""
    rng = np.random.default_rng(1)
    truth = rng.choice(3, 600, p=[0.6, 0.3, 0.1])
    task = np.repeat(np.arange(600, dtype=np.int32), 4)
    worker = rng.permutation(np.repeat(np.arange(800, dtype=np.int32), 3))
    off = np.where(worker % 4 == 0, 1, 0)
    option = ((truth[task] + np.where(rng.random(len(task)) < 0.85, off, 2)) % 3).astype(np.int32)
    answers = Answers(task, worker, option, 600, 800, 3)
    labels = dawid_skene_clustered(answers).label
    assert (labels == truth).mean() > (dawid_skene(answers).label == truth).mean() + 0.02
    assert (labels == truth).mean() > (majority_vote(answers).label == truth).mean() + 0.02


def test_glad_reaches_a_stationary_point_of_the_posterior() -> None:
    """At the end the gradient of the log posterior in each ability, by differences, is 0."""
    answers = answers_of(drawn("glad", options=2))
    ability = glad(answers, tolerance=1e-12, max_iterations=5_000).worker_score

    def log_posterior(shifted: np.ndarray) -> float:
        # The log inverse difficulties are maximised out, task by task, on a fine grid.
        grid = np.linspace(-4.0, 6.0, 2_001)
        total = -0.5 * float(((shifted - 1.0) ** 2).sum())
        for task in range(answers.num_tasks):
            rows = np.flatnonzero(answers.task_index == task)
            logit = shifted[answers.worker_index[rows]][:, None] * np.exp(grid)
            said = answers.option_index[rows][:, None] == np.arange(2)
            right, wrong = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
            per_option = np.where(said[:, :, None], right[:, None], wrong[:, None]).sum(axis=0)
            evidence = np.logaddexp(*per_option) - 0.5 * (grid - 1.0) ** 2
            total += float(evidence.max())
        return total

    for worker in (0, 11):
        step = np.zeros(answers.num_workers)
        step[worker] = 0.02
        slope = (log_posterior(ability + step) - log_posterior(ability - step)) / 0.04
        assert abs(slope) < 0.05


def test_long_tasks_do_not_underflow() -> None:
    """3,000 answers on a task multiply to far below the smallest float."""
    rng = np.random.default_rng(2)
    workers = 3_000
    truth = np.array([0, 1, 1], np.int32)
    task = np.repeat(np.arange(3, dtype=np.int32), workers)
    option = np.where(rng.random(3 * workers) < 0.6, truth[task], 1 - truth[task])
    answers = Answers(
        task, np.tile(np.arange(workers, dtype=np.int32), 3), option.astype(np.int32), 3, workers, 2
    )
    for method in (dawid_skene, one_coin_dawid_skene, glad):
        np.testing.assert_array_equal(method(answers).label, truth)
