"""Votes weighted by worker, against Crowd-Kit and against plain loops over the equations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from crowdkit.aggregation import MajorityVote, Wawa, ZeroBasedSkill
from scipy import stats

from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.weighted_votes import catd, pm, wawa, zero_based_skill
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


@worlds
@pytest.mark.parametrize(("ours", "other"), [(wawa, Wawa), (zero_based_skill, ZeroBasedSkill)])
def test_weights_equal_crowd_kit_without_ties(
    world: str, ours: Callable[[Answers], MethodResult], other: type[Wawa] | type[ZeroBasedSkill]
) -> None:
    """Seven answers with two options cannot tie. In a tie Crowd-Kit takes the first option as the
    winner; here the winners share. Its predict fails with the current scikit-learn, so that its
    last step is done by hand."""
    answers = answers_of(drawn(world, options=2, answers=7))
    result, fitted = ours(answers), other().fit(frame_of(answers))
    assert fitted.skills_ is not None
    voted = MajorityVote().fit(frame_of(answers), skills=fitted.skills_)
    assert voted.probas_ is not None
    np.testing.assert_allclose(result.worker_score, fitted.skills_.sort_index(), atol=1e-12)
    np.testing.assert_allclose(probabilities_of(result), voted.probas_.sort_index(), atol=1e-12)
    assert agreement(result, voted.labels_) == 1.0


def alternated(
    answers: Answers, weight_of: Callable[[dict[int, float], dict[int, int]], dict[int, float]]
) -> tuple[dict[int, dict[int, float]], dict[int, float]]:
    """Votes and weights after three rounds, with dictionaries: errors are shares of a lost win."""
    rows = [
        (int(t), int(w), int(o))
        for t, w, o in zip(
            answers.task_index, answers.worker_index, answers.option_index, strict=True
        )
    ]
    weights = {worker: 1.0 for _, worker, _ in rows}
    for _ in range(4):
        votes: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for task, worker, option in rows:
            votes[task][option] += weights[worker]
        winners = {
            task: [o for o, v in of_task.items() if v > max(of_task.values()) * (1.0 - 1e-12)]
            for task, of_task in votes.items()
        }
        errors: dict[int, float] = defaultdict(float)
        counts: dict[int, int] = defaultdict(int)
        for task, worker, option in rows:
            won = option in winners[task]
            errors[worker] += 1.0 - (1.0 / len(winners[task]) if won else 0.0)
            counts[worker] += 1
        used, weights = weights, weight_of(errors, counts)
    return votes, used


def crh_weights(errors: dict[int, float], counts: dict[int, int]) -> dict[int, float]:
    rate = {worker: max(errors[worker] / counts[worker], 1e-9) for worker in counts}
    return {worker: -np.log(rate[worker] / max(rate.values())) + 1e-9 for worker in rate}


def catd_weights(errors: dict[int, float], counts: dict[int, int]) -> dict[int, float]:
    return {
        worker: stats.chi2.ppf(0.025, counts[worker]) / max(errors[worker], 1e-3)
        for worker in counts
    }


@pytest.mark.parametrize(("method", "weight_of"), [(pm, crh_weights), (catd, catd_weights)])
@pytest.mark.parametrize("answers", [TINY, answers_of(drawn("one_coin", tasks=30, seed=3))])
def test_alternating_methods_equal_the_plain_equations(
    method: Callable[..., MethodResult],
    weight_of: Callable[[dict[int, float], dict[int, int]], dict[int, float]],
    answers: Answers,
) -> None:
    result = method(answers, max_iterations=3)
    if result.iterations < 3:  # the winners stayed: more rounds change nothing
        assert result.converged
    votes, weights = alternated(answers, weight_of)
    np.testing.assert_allclose(
        result.worker_score, [weights[worker] for worker in range(answers.num_workers)], rtol=1e-9
    )
    expected = np.zeros((answers.num_tasks, answers.num_options))
    for task, of_task in votes.items():
        for option, vote in of_task.items():
            expected[task, option] = vote / sum(of_task.values())
    np.testing.assert_allclose(probabilities_of(result), expected, rtol=1e-9)
