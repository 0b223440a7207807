"""KOS and M-MSR against Crowd-Kit, and against plain loops over the equations."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crowdkit.aggregation import KOS, MMSR

from crowdfm_core.errors import UndefinedMethodError
from crowdfm_core.evaluation import answers_of as answers_of_set
from crowdfm_core.evaluation import find_datasets, read_dataset
from crowdfm_core.methods import m_msr as m_msr_module
from crowdfm_core.methods.answers import Answers, Floats
from crowdfm_core.methods.kos import kos
from crowdfm_core.methods.m_msr import m_msr
from crowdfm_core.simulation_checks.world_results import answers_of
from tests.core.crowds_for_methods import (
    DEGENERATE,
    WORLDS,
    clear,
    drawn,
    frame_of,
    probabilities_of,
    rows_of,
)

worlds = pytest.mark.parametrize("world", WORLDS)


@worlds
@pytest.mark.parametrize("answers_per_task", [3, 8])
def test_kos_equals_crowd_kit(world: str, answers_per_task: int) -> None:
    """From other random starts, which the rounds forget."""
    answers = answers_of(drawn(world, options=2, answers=answers_per_task))
    other = KOS().fit(frame_of(answers)).labels_
    assert other is not None
    result = kos(answers)
    assert result.converged
    assert (result.label == other.sort_index().to_numpy()).mean() >= 0.995


@pytest.mark.parametrize("rounds", [1, 4])
def test_kos_equals_the_plain_equations(rounds: int) -> None:
    """Messages in dictionaries keyed by task and worker, scaled only for the comparison."""
    answers = answers_of(drawn("one_coin", options=2, tasks=30, answers=4, seed=3)).in_order()
    draws = np.random.default_rng(7).normal(1.0, 1.0, len(answers.task_index))
    said = {(t, w): 2.0 * o - 1.0 for t, w, o in rows_of(answers)}
    y = dict(zip(said, draws.tolist(), strict=True))
    for _ in range(rounds):
        scale = np.sqrt(np.mean(np.square(list(y.values()))))
        x = {
            (t, w): sum(said[key] * y[key] for key in said if key[0] == t and key[1] != w)
            for t, w in said
        }
        y = {
            (t, w): sum(said[key] * x[key] for key in said if key[1] == w and key[0] != t)
            for t, w in said
        }
    decision = np.zeros(answers.num_tasks)
    score: dict[int, list[float]] = defaultdict(list)
    for t, w in said:
        decision[t] += said[t, w] * y[t, w]
        score[w].append(said[t, w] * x[t, w])
    result = kos(answers, seed=7, max_iterations=rounds, tolerance=-1.0)
    assert result.iterations == rounds
    np.testing.assert_array_equal(result.label, decision > 0.0)
    expected = [np.mean(score[w]) for w in range(answers.num_workers)]
    first = 1.0 if rounds == 1 else scale  # the draws themselves are not of unit size
    np.testing.assert_allclose(result.worker_score, np.array(expected) / first, rtol=1e-8)


def test_kos_goes_by_votes_where_no_message_arrives() -> None:
    """Workers of one answer each: two against one on the first task, one on the second."""
    said = np.array([1, 1, 0, 0], np.int32)
    task, worker = np.array([0, 0, 0, 1], np.int32), np.arange(4, dtype=np.int32)
    np.testing.assert_array_equal(kos(Answers(task, worker, said, 2, 4, 2)).label, [1, 0])


def test_kos_needs_two_options() -> None:
    with pytest.raises(UndefinedMethodError, match="kos is undefined here: it needs two options"):
        kos(DEGENERATE["three options in a tie"])


@worlds
@pytest.mark.parametrize("options", [2, 5])
def test_m_msr_equals_crowd_kit_up_to_the_signs(
    world: str, options: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = answers_of(drawn(world, options=options, answers=6))
    assert equal_to_crowd_kit(answers, monkeypatch) >= 0.995


def test_m_msr_equals_crowd_kit_up_to_the_signs_on_real_sets(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On those whose pairs of workers Crowd-Kit goes through in seconds."""
    compared = 0
    for folder in find_datasets(data_dir):
        answers = answers_of_set(read_dataset(folder, drop_repeated=True))
        if len(answers.task_index) <= 20_000 and answers.num_workers <= 200:
            assert equal_to_crowd_kit(answers, monkeypatch) >= 0.995, folder.name
            compared += 1
    assert compared > 0


def equal_to_crowd_kit(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> float:
    """Share of equal labels outside ties, after a check that the completed matrix is the same.

    Crowd-Kit's signs take a worker's agreement with himself, and workers who share no task, for
    disagreement, so that ours are put in their place.
    """
    result, options = m_msr(answers), answers.num_options
    accuracy = result.worker_score
    skill = (accuracy * options - 1.0) / (options - 1.0)

    def with_our_signs(_: Floats, size: Floats) -> Floats:
        order = np.array(list(other._workers_mapping))
        return np.asarray(size * np.sign(skill[order])[:, None])

    monkeypatch.setattr(MMSR, "_sign_determination_valid", staticmethod(with_our_signs))
    other = MMSR(n_iter=1_000)
    other.fit(frame_of(answers))
    assert other.skills_ is not None
    weight = other.skills_.sort_index().to_numpy()
    odds = np.exp(weight) / (options - 1.0)
    np.testing.assert_allclose(odds / (1.0 + odds), accuracy, atol=0.02)
    votes = answers.votes(weight[answers.worker_index])
    return float((result.label == votes.argmax(axis=1))[clear(votes)].mean())


def plain_m_msr(answers: Answers, rounds: int) -> Floats:
    """|s| as Algorithm M-MSR has it, with dense matrices and sorted lists."""
    workers, options = answers.num_workers, answers.num_options
    said: dict[int, dict[int, int]] = defaultdict(dict)
    for task, worker, option in rows_of(answers):
        said[worker][task] = option
    size = np.full((workers, workers), np.nan)
    for i in range(workers):
        for j in range(workers):
            common = set(said[i]) & set(said[j])
            if i != j and common:
                equal = np.mean([said[i][t] == said[j][t] for t in common])
                size[i, j] = abs((options * equal - 1.0) / (options - 1.0))
    known = ~np.isnan(size)
    filtered = max(0, int(known.sum(axis=1).min()) // 2 - 1)

    def step(divisor: Floats, present: Floats) -> Floats:
        out = present.copy()
        for i in range(workers):
            ratios = sorted(size[i, known[i]] / divisor[known[i]])
            below = sum(ratio < present[i] for ratio in ratios)
            above = sum(ratio > present[i] for ratio in ratios)
            kept = ratios[min(below, filtered) : len(ratios) - min(above, filtered)]
            if kept:
                out[i] = np.mean(kept)
        return out

    u = v = np.full(workers, 0.5)
    for _ in range(rounds):
        v = step(u, v)
        u = step(v, u)
    return np.asarray(u / np.sqrt(np.linalg.norm(u) / np.linalg.norm(v)))


@pytest.mark.parametrize("answers_per_task", [2, 6])
def test_m_msr_equals_the_plain_equations(
    answers_per_task: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[Floats] = []
    complete = m_msr_module._complete

    def keeping(*arguments: Any) -> Any:
        completed = complete(*arguments)
        sizes.append(completed[0])
        return completed

    monkeypatch.setattr(m_msr_module, "_complete", keeping)
    answers = answers_of(drawn("one_coin", options=3, tasks=60, answers=answers_per_task))
    m_msr(answers, max_iterations=5, tolerance=-1.0)
    np.testing.assert_allclose(sizes[0], plain_m_msr(answers, 5), rtol=1e-9)


def test_m_msr_finds_workers_who_invert_every_answer() -> None:
    """Ten of twenty-five answer the wrong one of two options; the others are right 4 times in 5."""
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 400)
    task = np.repeat(np.arange(400, dtype=np.int32), 8)
    worker = np.concatenate([rng.permutation(25)[:8] for _ in range(400)]).astype(np.int32)
    right = rng.random(len(task)) < np.where(worker < 10, 0.1, 0.8)
    option = np.where(right, truth[task], 1 - truth[task]).astype(np.int32)
    result = m_msr(Answers(task, worker, option, 400, 25, 2))
    assert (result.worker_score[:10] < 0.5).all()
    assert (result.worker_score[10:] > 0.5).all()
    assert (result.label == truth).mean() > 0.97


def test_m_msr_gives_unlinked_workers_the_mean_skill() -> None:
    """Worker 25 alone answers the last task."""
    answers = answers_of(drawn("one_coin", options=2, tasks=50))
    rows = [*rows_of(answers), (50, 25, 1)]
    task, worker, option = np.array(rows, np.int32).T
    result = m_msr(Answers(task.copy(), worker.copy(), option.copy(), 51, 26, 2))
    assert result.label[50] == 1
    assert result.worker_score[25] == pytest.approx(result.worker_score[:25].mean())
    assert probabilities_of(result)[50, 1] == pytest.approx(result.worker_score[25])


@pytest.mark.parametrize("case", ["one task", "no shared task", "one option"])
def test_m_msr_says_what_is_missing(case: str) -> None:
    reason = "no two workers share a task" if case == "no shared task" else "needs two options"
    with pytest.raises(UndefinedMethodError, match=reason):
        m_msr(DEGENERATE[case])
