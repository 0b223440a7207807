"""What holds for every method of the registry, and the registry itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from crowdfm_core.errors import ScoringError, UndefinedMethodError
from crowdfm_core.methods.answers import Answers, Gold, IntArray, MethodResult
from crowdfm_core.methods.registry import METHODS, aggregate
from crowdfm_core.simulation_checks.world_results import answers_of
from tests.core.crowds_for_methods import (
    DEGENERATE,
    TINY,
    drawn,
    probabilities_of,
    wild_projects,
)

every_method = pytest.mark.parametrize("name", METHODS)

# What is undefined for want of gold, of two options, or of workers who share tasks.
UNDEFINED = {
    *(("gold_majority_vote", case) for case in DEGENERATE),
    ("kos", "one option"),
    ("kos", "three options in a tie"),
    ("m_msr", "one worker"),
    ("m_msr", "one option"),
    ("m_msr", "one task"),
    ("m_msr", "no annotation"),
    ("m_msr", "no shared task"),
}


def project_for(name: str, *, options: int) -> tuple[Answers, IntArray]:
    """A drawn crowd with gold for every third task, of two options where the method needs them."""
    crowd = drawn("dawid_skene", options=2 if name == "kos" else options)
    gold = np.where(np.arange(crowd.num_tasks) % 3 == 0, crowd.true_option, -1)
    return answers_of(crowd), gold


def shuffled(answers: Answers, seed: int) -> Answers:
    order = np.random.default_rng(seed).permutation(len(answers.task_index))
    return replace(
        answers,
        task_index=answers.task_index[order],
        worker_index=answers.worker_index[order],
        option_index=answers.option_index[order],
    )


@every_method
@settings(max_examples=60)
@given(project=wild_projects())
def test_any_project_gets_a_sound_result_or_the_reason_why_not(
    name: str, project: tuple[Answers, Gold]
) -> None:
    """One worker, one option, one task, ties, repeated rows, gaps, nothing at all, any gold."""
    answers, gold = project
    try:
        result = aggregate(name, answers, gold=gold)
    except UndefinedMethodError:
        assert METHODS[name].undefined_on, f"{name} should be defined everywhere"
        return
    assert_sound(name, answers, result)


@every_method
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_projects_get_a_sound_result_or_the_reason_why_not(name: str, case: str) -> None:
    """Each case for certain, since the drawn projects meet it by chance."""
    answers = DEGENERATE[case]
    if (name, case) in UNDEFINED:
        with pytest.raises(UndefinedMethodError, match=f"{name} is undefined here: "):
            aggregate(name, answers)
    else:
        assert_sound(name, answers, aggregate(name, answers))


def assert_sound(name: str, answers: Answers, result: MethodResult) -> None:
    answered = answers.answers_per_task() > 0
    assert result.label.dtype == np.int32
    assert (result.label[~answered] == -1).all()
    lowest = -1 if METHODS[name].abstains else 0
    label = result.label[answered]
    assert ((label >= lowest) & (label < answers.num_options)).all()
    assert (np.isfinite(result.worker_score) == (answers.answers_per_worker() > 0)).all()
    assert (result.probabilities is None) == (METHODS[name].probabilities == "none")
    if result.probabilities is not None:
        assert result.probabilities.shape == (answers.num_tasks, answers.num_options)
        np.testing.assert_allclose(result.probabilities.sum(axis=1), 1.0, atol=1e-9)
        assert (result.probabilities >= 0.0).all()


@every_method
def test_order_of_rows_leaves_no_trace(name: str) -> None:
    answers, gold = project_for(name, options=2)
    first, second = (aggregate(name, each, gold=gold) for each in (answers, shuffled(answers, 3)))
    if first.probabilities is not None:
        np.testing.assert_array_equal(first.probabilities, probabilities_of(second))
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_array_equal(first.worker_score, second.worker_score)
    assert first.iterations == second.iterations


@every_method
def test_renamed_options_rename_the_labels(name: str) -> None:
    if METHODS[name].uses_seed:
        pytest.skip("its random start is drawn per option")
    answers, gold = project_for(name, options=4)
    renamed = np.array([2, 0, 3, 1], np.int32)
    first = aggregate(name, answers, gold=gold)
    second = aggregate(
        name,
        replace(answers, option_index=renamed[answers.option_index]),
        gold=np.where(gold < 0, -1, renamed[gold]),
    )
    expected = probabilities_of(first)
    np.testing.assert_allclose(probabilities_of(second)[:, renamed], expected, atol=1e-6)


@every_method
def test_unanimous_answers_are_the_labels(name: str) -> None:
    options = 2 if name == "kos" else 3
    truth = np.arange(40, dtype=np.int32) % options
    answers = Answers(
        task_index=np.repeat(np.arange(40, dtype=np.int32), 5),
        worker_index=np.tile(np.arange(5, dtype=np.int32), 40),
        option_index=np.repeat(truth, 5),
        num_tasks=40,
        num_workers=5,
        num_options=options,
    )
    result = aggregate(name, answers, gold=truth)
    np.testing.assert_array_equal(result.label, truth)
    assert result.converged


@every_method
def test_good_workers_score_above_bad_ones(name: str) -> None:
    if name == "plantnet":
        pytest.skip("it counts options that a worker knows, and with a few everybody knows all")
    options = 2 if name == "kos" else 3
    crowd = drawn("one_coin", seed=8, options=options)
    result = aggregate(name, answers_of(crowd), gold=crowd.true_option)
    right = crowd.option_index == crowd.true_option[crowd.task_index]
    accuracy = np.bincount(crowd.worker_index, right) / np.bincount(crowd.worker_index)
    assert stats.spearmanr(result.worker_score, accuracy).statistic > 0.8


def test_unknown_method_is_refused_with_the_list() -> None:
    with pytest.raises(ScoringError, match=r"expected a method of majority_vote, .*got 'mv'"):
        aggregate("mv", TINY)


def test_too_large_matrices_are_refused_with_a_way_out() -> None:
    nothing = np.zeros(0, np.int32)
    answers = Answers(nothing, nothing, nothing, 10, 2_000, 1_000)
    with pytest.raises(
        ScoringError, match=r"44\.7 GiB, the limit is 4\.0 GiB; use majority_vote, "
    ):
        aggregate("dawid_skene", answers)
    with pytest.raises(
        ScoringError, match=r"plantnet, or raise max_bytes$"
    ):  # not kos: two options
        aggregate("dawid_skene", answers)
    with pytest.raises(ScoringError, match=r"the limit is 0\.0 GiB; raise max_bytes"):
        aggregate("majority_vote", TINY, max_bytes=10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_index": TINY.task_index[1:]}, "of one length, got 13, 14, 14"),
        ({"num_tasks": 4}, r"task_index in 0\.\.3, got 0\.\.4"),
        ({"worker_index": TINY.worker_index - 1}, r"worker_index in 0\.\.3, got -1\.\.2"),
        ({"num_options": 0}, "num_options >= 1, got 0"),
    ],
)
def test_wrong_arrays_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]


def test_order_is_by_task_worker_and_option() -> None:
    ordered = shuffled(TINY, 1).in_order()
    rows = list(zip(ordered.task_index, ordered.worker_index, ordered.option_index, strict=True))
    assert rows == sorted(zip(TINY.task_index, TINY.worker_index, TINY.option_index, strict=True))
    np.testing.assert_array_equal(ordered.task_start(), [0, 3, 6, 9, 11, 14])


def test_ordered_answers_are_not_copied() -> None:
    assert TINY.in_order() is TINY
