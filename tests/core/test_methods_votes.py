"""Votes and weighted votes without a counterpart in Crowd-Kit, against plain loops."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from crowdfm_core.methods.answers import Answers, Floats
from crowdfm_core.methods.dawid_skene import dawid_skene
from crowdfm_core.methods.majority_vote import majority_vote, naive_soft, twothird
from crowdfm_core.methods.plantnet import plantnet
from crowdfm_core.methods.weighted_votes import iwmv, weighted_dawid_skene
from crowdfm_core.simulation_checks.world_results import answers_of
from tests.core.crowds_for_methods import TINY, WORLDS, drawn, probabilities_of, rows_of

worlds = pytest.mark.parametrize("world", WORLDS)
SMALL = answers_of(drawn("one_coin", tasks=40, options=4, seed=3))
graphs = pytest.mark.parametrize("answers", [TINY, SMALL])


def counted(answers: Answers, weight: Floats) -> Floats:
    votes = np.zeros((answers.num_tasks, answers.num_options))
    for task, worker, option in rows_of(answers):
        votes[task, option] += weight[worker]
    return votes


def winners_of(votes: Floats) -> list[set[int]]:
    return [{k for k, v in enumerate(row) if v > max(row) - 1e-9} for row in votes.tolist()]


def mean_by_worker(answers: Answers, value: dict[tuple[int, int], float]) -> list[float]:
    """Mean over a worker's annotations of value[task, option], 0 where it is missing."""
    values = defaultdict(list)
    for task, worker, option in rows_of(answers):
        values[worker].append(value.get((task, option), 0.0))
    return [float(np.mean(values[worker])) for worker in range(answers.num_workers)]


@graphs
def test_naive_soft_is_the_distribution_of_answers(answers: Answers) -> None:
    votes = counted(answers, np.ones(answers.num_workers))
    shares = votes / votes.sum(axis=1, keepdims=True)
    result = naive_soft(answers)
    np.testing.assert_allclose(probabilities_of(result), shares)
    np.testing.assert_array_equal(result.label, majority_vote(answers).label)
    expected = mean_by_worker(answers, dict(np.ndenumerate(shares)))
    np.testing.assert_allclose(result.worker_score, expected)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ([1], -1),  # two answers are needed
        ([1, 1], 1),
        ([0, 1], -1),
        ([0, 0, 1], 0),  # exactly two thirds
        ([0, 1, 2], -1),
        ([2, 2, 2, 0, 1], -1),  # three fifths
        ([2, 2, 2, 2, 0, 1], 2),
    ],
)
def test_twothird_needs_two_thirds_of_two_answers(said: list[int], label: int) -> None:
    option, worker = np.array(said, np.int32), np.arange(len(said), dtype=np.int32)
    answers = Answers(np.zeros(len(said), np.int32), worker, option, 1, len(said), 3)
    result = twothird(answers)
    assert result.label.tolist() == [label]
    shares = np.bincount(option, minlength=3) / len(said)
    np.testing.assert_allclose(probabilities_of(result)[0], shares)
    scores = [1.0 if o == label else 0.0 for o in said] if label >= 0 else [1 / 3] * len(said)
    np.testing.assert_allclose(result.worker_score, scores)


def test_twothird_scores_by_tasks_with_a_label_alone() -> None:
    """TINY: tasks 0 (0, 0, 1), 1 (1, 1, 0), 3 (2, 2) and 4 (0, 1, 0) have one, task 2 has none."""
    result = twothird(TINY)
    np.testing.assert_array_equal(result.label, [0, 1, -1, 2, 0])
    np.testing.assert_allclose(result.worker_score, [1.0, 3 / 4, 1 / 2, 1 / 2])


@graphs
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_iwmv_equals_the_plain_equations(answers: Answers, rounds: int) -> None:
    options = answers.num_options
    winners = winners_of(counted(answers, np.ones(answers.num_workers)))
    for _ in range(rounds):
        share = {(t, k): 1 / len(tied) for t, tied in enumerate(winners) for k in tied}
        accuracy = np.array(mean_by_worker(answers, share))
        votes = counted(answers, options * accuracy - 1.0)
        winners = winners_of(votes)
    result = iwmv(answers, max_iterations=rounds)
    np.testing.assert_allclose(result.worker_score, accuracy, atol=1e-12)
    of_result = winners_of(probabilities_of(result))
    clear = [task for task, tied in enumerate(winners) if len(tied) == 1]
    assert [of_result[task] for task in clear] == [winners[task] for task in clear]


def test_iwmv_counts_a_worker_below_chance_against_the_own_answer() -> None:
    """Worker 3 always names the option after the others' one; on the last task it is alone."""
    rows = [(t, w, t % 3) for t in range(6) for w in range(3)]
    rows += [(t, 3, (t + 1) % 3) for t in range(6)] + [(6, 3, 0)]
    task, worker, option = np.array(rows, np.int32).T
    result = iwmv(Answers(task.copy(), worker.copy(), option.copy(), 7, 4, 3))
    np.testing.assert_allclose(result.worker_score, [1.0, 1.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(probabilities_of(result)[6], [0.0, 0.5, 0.5])
    # Three weights of 2 for option 0; the fourth, -1, is for options 0 and 2, not for its own 1.
    np.testing.assert_allclose(probabilities_of(result)[0], [7 / 8, 0.0, 1 / 8])


@worlds
def test_iwmv_with_few_bad_workers_labels_like_majority_voting_or_better(world: str) -> None:
    crowd = drawn(world, options=3, answers=7)
    votes, weighted = majority_vote(answers_of(crowd)), iwmv(answers_of(crowd))
    truth = crowd.true_option
    assert (weighted.label == truth).mean() >= (votes.label == truth).mean() - 0.02
    assert weighted.converged


@worlds
def test_weighted_dawid_skene_votes_with_the_fitted_rates(world: str) -> None:
    """The rates are counted again from the fitted posteriors, which one more round reproduces."""
    answers = answers_of(drawn(world, options=3))
    fit = dawid_skene(answers, max_iterations=20, tolerance=-np.inf)
    posterior = probabilities_of(fit)
    named = np.zeros((answers.num_workers, 3, 3))  # worker, truth, answer
    for task, worker, option in rows_of(answers):
        named[worker, :, option] += posterior[task]
    named = np.maximum(named, 1e-10)
    rate = named / named.sum(axis=2, keepdims=True)
    votes = np.zeros((answers.num_tasks, 3))
    for task, worker, option in rows_of(answers):
        votes[task, option] += rate[worker, option, option]
    result = weighted_dawid_skene(answers, max_iterations=20, tolerance=-np.inf)
    expected = votes / votes.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities_of(result), expected, atol=1e-9)
    np.testing.assert_allclose(result.worker_score, fit.worker_score)


def plain_plantnet(answers: Answers, rounds: int) -> tuple[Floats, Floats]:
    """Weights, and votes with them, after some rounds, with one set of options per worker."""
    weight = np.full(answers.num_workers, np.log(2.1))
    for _ in range(rounds):
        votes = counted(answers, weight)
        known: dict[int, set[int]] = defaultdict(set)
        for task, worker, option in rows_of(answers):
            confidence = votes[task].max()
            valid = confidence > 2.0 and confidence / votes[task].sum() > 0.7
            if valid and votes[task, option] == confidence:
                known[worker].add(option)
        num = np.array([len(known[worker]) for worker in range(answers.num_workers)])
        weight = num**0.5 - num**0.2 + np.log(2.1)
    return weight, counted(answers, weight)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("options", [3, 20])
def test_plantnet_equals_the_plain_equations(options: int, rounds: int) -> None:
    answers = answers_of(drawn("one_coin", tasks=150, options=options))
    weight, votes = plain_plantnet(answers, rounds)
    result = plantnet(answers, max_iterations=rounds)
    np.testing.assert_allclose(result.worker_score, weight, atol=1e-12)
    np.testing.assert_allclose(
        probabilities_of(result), votes / votes.sum(axis=1, keepdims=True), atol=1e-12
    )


def test_plantnet_trusts_who_knows_many_options() -> None:
    """Four experts name 30 options together; a novice's word against one of them does not count."""
    rows = [(t, w, t) for t in range(30) for w in range(4)] + [(30, 0, 7), (30, 4, 8)]
    task, worker, option = np.array(rows, np.int32).T
    result = plantnet(Answers(task.copy(), worker.copy(), option.copy(), 31, 5, 30))
    assert result.label[30] == 7
    expected = 30**0.5 - 30**0.2 + np.log(2.1)
    np.testing.assert_allclose(result.worker_score, [*[expected] * 4, np.log(2.1)])
    assert result.converged
