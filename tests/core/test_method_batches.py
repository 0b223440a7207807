"""Classical methods on batches of projects: equal to one project at a time, and bad ones apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crowdfm_core.errors import ScoringError
from crowdfm_core.method_batches import aggregate_batch, project_seed
from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.registry import METHODS, aggregate
from crowdfm_core.scoring import AnnotationBatch
from crowdfm_core.simulation_checks.world_results import answers_of
from tests.core.crowds_for_methods import TINY, drawn, probabilities_of


def answers_from(rows: list[tuple[int, int, int]], num_options: int) -> Answers:
    """Answers of (task, worker, option) rows."""
    task, worker, option = np.array(rows, np.int32).T.copy()
    return Answers(task, worker, option, task.max() + 1, worker.max() + 1, num_options)


PROJECTS = {
    "crowd": answers_of(drawn("dawid_skene", tasks=60)).in_order(),
    "tiny": TINY.in_order(),
    "one answer": answers_from([(0, 0, 0)], 1),
}


def batch_of(projects: dict[str, Answers]) -> AnnotationBatch:
    """All projects behind one another, tasks and workers numbered over the batch."""
    parts = list(projects.values())
    first_task = np.cumsum([0, *(part.num_tasks for part in parts)]).astype(np.int32)
    first_worker = np.cumsum([0, *(part.num_workers for part in parts)]).astype(np.int32)
    return AnnotationBatch(
        task_index=np.concatenate([p.task_index + first_task[i] for i, p in enumerate(parts)]),
        worker_index=np.concatenate(
            [p.worker_index + first_worker[i] for i, p in enumerate(parts)]
        ),
        option_index=np.concatenate([p.option_index for p in parts]),
        task_project=np.repeat(np.arange(len(parts)), [p.num_tasks for p in parts]),
        project_ids=list(projects),
        num_options=np.array([p.num_options for p in parts], np.int32),
        num_workers=int(first_worker[-1]),
    )


@pytest.mark.parametrize("name", ["dawid_skene", "ebcc", "wawa"])
def test_every_project_of_a_batch_is_aggregated_as_if_alone(name: str) -> None:
    found = aggregate_batch(name, batch_of(PROJECTS), max_probabilities=10)
    scored, task, worker = found.scored, 0, 0
    for (project, answers), fit in zip(PROJECTS.items(), found.fits, strict=True):
        expected = aggregate(name, answers, seed=project_seed(name, project))
        p = probabilities_of(expected)
        assert (fit.iterations, fit.converged) == (expected.iterations, expected.converged)
        assert fit.problem is None
        tasks = slice(task, task + answers.num_tasks)
        np.testing.assert_array_equal(scored.label_index[tasks], expected.label)
        np.testing.assert_allclose(scored.probability[tasks], p.max(axis=1), atol=2e-9)
        for t in range(answers.num_tasks):
            listed = slice(scored.top_offsets[task + t], scored.top_offsets[task + t + 1])
            options, values = scored.top_option_index[listed], scored.top_probability[listed]
            np.testing.assert_allclose(values, p[t, options], atol=2e-9)
            assert (np.diff(values) <= 0).all()
            assert values.sum() == pytest.approx(1.0, abs=1e-8)
        workers = slice(worker, worker + answers.num_workers)
        np.testing.assert_array_equal(found.worker_score[workers], expected.worker_score)
        own = answers.sum_per_worker(answers.own_values(p)) / answers.answers_per_worker()
        np.testing.assert_allclose(scored.expected_accuracy[workers], own)
        agrees = answers.option_index == expected.label[answers.task_index]
        agreed = answers.sum_per_worker(agrees) / answers.answers_per_worker()
        np.testing.assert_allclose(scored.agreement_with_aggregate[workers], agreed)
        task, worker = tasks.stop, workers.stop
    positive = scored.probability < 1.0
    assert (scored.entropy[positive] > 0.0).all()


@pytest.mark.parametrize("name", ["dawid_skene", "gold_majority_vote"])
def test_gold_of_a_batch_reaches_each_project(name: str) -> None:
    """Gold for every third task of the first project and for one of the second; none of the
    last, where a method that needs gold says so."""
    golds = {project: np.full(answers.num_tasks, -1) for project, answers in PROJECTS.items()}
    golds["crowd"][::3], golds["tiny"][1] = 1, 2
    found = aggregate_batch(
        name, batch_of(PROJECTS), max_probabilities=10, gold=np.concatenate([*golds.values()])
    )
    first_task = 0
    for (project, answers), fit in zip(PROJECTS.items(), found.fits, strict=True):
        if fit.problem is not None:
            assert (name, project) == ("gold_majority_vote", "one answer")
            assert "nobody answered a gold task" in fit.problem
            continue
        expected = aggregate(name, answers, gold=golds[project], seed=project_seed(name, project))
        tasks = slice(first_task, first_task + answers.num_tasks)
        np.testing.assert_array_equal(found.scored.label_index[tasks], expected.label)
        first_task = tasks.stop
    if name == "dawid_skene":  # it tells: these labels are not those without gold
        np.testing.assert_array_equal(found.scored.label_index[:60:3], 1)


def test_tied_options_rank_by_option_and_long_lists_are_cut() -> None:
    answers = answers_from([(0, 0, 3), (0, 1, 1), (0, 2, 2), (1, 0, 2)], 4)
    scored = aggregate_batch("majority_vote", batch_of({"p": answers}), max_probabilities=2).scored
    assert (scored.label_index[0], scored.runner_up_index[0]) == (1, 2)
    assert scored.top_option_index.tolist() == [1, 2, 2]
    assert (scored.label_index[1], scored.runner_up_index[1]) == (2, -1)


def test_project_that_is_too_large_has_a_problem_and_leaves_the_others_alone() -> None:
    huge = replace(PROJECTS["tiny"], num_options=2_000)
    batch = batch_of({"crowd": PROJECTS["crowd"], "huge": huge})
    found = aggregate_batch("dawid_skene", batch, max_probabilities=10, max_bytes=10 << 20)
    assert [fit.problem is None for fit in found.fits] == [True, False]
    assert "2000 options need 0.4 GiB, the limit is 0.0 GiB" in str(found.fits[1].problem)
    alone = aggregate("dawid_skene", PROJECTS["crowd"])
    np.testing.assert_array_equal(found.scored.label_index[: len(alone.label)], alone.label)


@pytest.mark.parametrize("failure", ["memory", "not finite"])
def test_project_on_which_a_method_fails_says_why(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(answers: Answers) -> MethodResult:
        if failure == "memory":
            raise MemoryError
        shape = (answers.num_tasks, answers.num_options)
        return MethodResult.of(answers, np.full(shape, np.nan), np.zeros(answers.num_workers))

    monkeypatch.setitem(METHODS, "wawa", replace(METHODS["wawa"], run=run))
    found = aggregate_batch("wawa", batch_of(PROJECTS), max_probabilities=10)
    expected = {"memory": "out of memory", "not finite": "got some that are not"}[failure]
    assert [expected in str(fit.problem) for fit in found.fits] == [True] * 3


def test_method_without_probabilities_gives_labels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(answers: Answers) -> MethodResult:
        label = np.arange(answers.num_tasks, dtype=np.int32) % answers.num_options
        return MethodResult(None, label, np.ones(answers.num_workers), 1, True)

    monkeypatch.setitem(METHODS, "wawa", replace(METHODS["wawa"], run=run))
    scored = aggregate_batch("wawa", batch_of({"p": TINY}), max_probabilities=10).scored
    assert scored.label_index.tolist() == [0, 1, 2, 0, 1]
    for unknown in (scored.probability, scored.entropy, scored.expected_accuracy):
        assert np.isnan(unknown).all()
    assert len(scored.top_option_index) == 0
    assert np.isfinite(scored.agreement_with_aggregate).all()


def test_tasks_on_which_a_method_abstains_have_no_label_and_count_for_no_agreement() -> None:
    # (task, worker, option): consensus, none, a single answer.
    rows = [(0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 0, 0), (1, 3, 1), (2, 3, 1)]
    found = aggregate_batch("twothird", batch_of({"p": answers_from(rows, 2)}), max_probabilities=5)
    assert found.has_label.tolist() == [True, False, False]
    assert found.scored.agreement_with_aggregate[:3].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(found.scored.agreement_with_aggregate[3])
    np.testing.assert_allclose(found.scored.expected_accuracy[3], (1 / 2 + 1) / 2)


def test_mixed_projects_are_refused() -> None:
    batch = batch_of(PROJECTS)
    mixed = replace(batch, task_index=batch.task_index[::-1].copy())
    with pytest.raises(ScoringError, match="rows project by project, got them mixed"):
        aggregate_batch("wawa", mixed, max_probabilities=10)


def test_seeds_follow_from_method_and_project_alone() -> None:
    assert project_seed("ebcc", "p") == project_seed("ebcc", "p")
    assert len({project_seed(m, p) for m in ("ebcc", "mace") for p in ("p", "q", "ü")}) == 6
