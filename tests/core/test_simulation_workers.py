"""Workers of rich crowds: skills, habits, groups, teachers, spammers, adversaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crowdfm_core.simulation import RichDraw, Shape
from crowdfm_core.simulation.spammers import WorkerKind
from tests.core.rich_crowds import (
    SPAMMERS,
    assert_counts_follow,
    confusion,
    draw,
    only,
    right,
    size,
)


def test_worker_and_class_skills_spread_as_they_should() -> None:
    drawn = draw(only(size(2000, 1500, 3, 10), worker_skill={"spread": (1.2, 1.2)}))
    assert abs(drawn.causes.skill[:, 0].std() - 1.2) < 0.1
    assert np.ptp(drawn.causes.skill, axis=1).max() < 1e-9  # the same for every class
    drawn = draw(only(size(2000, 1500, 3, 10), individual_class_skill={"spread": (0.9, 0.9)}))
    assert abs(drawn.causes.skill.std() - 0.9) < 0.05
    assert np.abs(np.corrcoef(drawn.causes.skill.T) - np.eye(3)).max() < 0.1
    drawn = draw(only(size(3000, 60, 4, 10), class_skill={"spread": (2.0, 2.0)}), seed=2)
    counts = confusion(drawn.crowd)
    recall = counts.diagonal() / counts.sum(axis=1)
    assert (np.argsort(recall) == np.argsort(drawn.causes.class_skill)).all()
    assert np.ptp(recall) > 0.2


def test_experts_are_a_share_of_the_workers_and_better_by_the_gap() -> None:
    some = {"experts": (0.3, 0.3), "gap": (2.0, 2.0)}
    drawn = draw(only(size(2000, 1500, 3, 10), experts_and_novices=some))
    skill = drawn.causes.skill[:, 0]
    expert = skill > skill.min() + 1
    assert abs(expert.mean() - 0.3) < 0.04
    np.testing.assert_allclose(skill[expert] - skill.min(), 2.0)
    np.testing.assert_allclose(skill[~expert], skill.min())


def test_skill_rises_with_the_logarithm_of_the_load() -> None:
    shape = Shape.exact(tasks=2000, workers=300, options=3, answers_per_task=10, even=False)
    drawn = draw(only(shape, skill_by_load={"slope": (0.7, 0.7)}))
    size_of = np.log(np.bincount(drawn.crowd.worker_index))
    slope = np.polyfit(size_of, drawn.causes.skill[:, 0], 1)[0]
    assert slope == pytest.approx(0.7 / size_of.std())
    equal = draw(only(size(2000, 20, 3, 20), skill_by_load={"slope": (0.7, 0.7)}))
    assert np.ptp(equal.causes.skill) == 0  # everybody answers everything


def test_habits_concentrate_the_errors_of_a_worker() -> None:
    drawn = draw(only(size(4000, 20, 6, 10), habitual_errors={"largest_share": (1.0, 1.0)}))
    crowd, causes = drawn.crowd, drawn.causes
    wrong = ~right(crowd)
    who, truth = crowd.worker_index[wrong], crowd.true_option[crowd.task_index][wrong]
    by_habit = crowd.option_index[wrong] == causes.habit[who, truth]
    # Blind guessing over six options hits the habit in a sixth, and the truth in another.
    share = causes.habit_share
    expected = (share + (1 - share) / 6) / (share + (1 - share) * 5 / 6)
    observed = np.bincount(who, weights=by_habit) / np.bincount(who)
    assert np.abs(observed - expected).max() < 0.1
    assert np.ptp(expected) > 0.5


def test_members_of_a_group_share_skill_and_habit() -> None:
    settings = {"groups": (2, 2), "skill_spread": (1.5, 1.5), "habit_share": (0.6, 0.6)}
    drawn = draw(only(size(4000, 40, 6, 10), worker_groups=settings), seed=3)
    crowd, causes = drawn.crowd, drawn.causes
    group = causes.groups.group_of_worker
    assert set(group.tolist()) == {0, 1}
    members = causes.skill[group == 0]
    assert np.ptp(members, axis=0).max() < 1e-9
    wrong = ~right(crowd)
    who, truth = crowd.worker_index[wrong], crowd.true_option[crowd.task_index][wrong]
    answer = crowd.option_index[wrong]
    own = (answer == causes.group_habit[group[who], truth]).mean()
    others = (answer == causes.group_habit[1 - group[who], truth]).mean()
    assert own > 0.6
    assert others < 0.4


def test_students_repeat_their_teacher_also_in_error() -> None:
    settings = {"teachers": (1, 1), "students": (0.5, 0.5), "fidelity": (0.9, 0.9)}
    drawn = draw(only(size(1500, 60, 5, 20), teachers=settings))
    crowd, causes = drawn.crowd, drawn.causes
    student = causes.teachers.teacher_of_worker >= 0
    assert 0.3 < student.mean() < 0.7

    def largest_share(rows: np.ndarray) -> float:
        counts = np.zeros((crowd.num_tasks, 5))
        np.add.at(counts, (crowd.task_index[rows], crowd.option_index[rows]), 1)
        enough = counts.sum(axis=1) >= 5
        return float((counts.max(axis=1) / counts.sum(axis=1).clip(1))[enough].mean())

    of_students = student[crowd.worker_index]
    assert largest_share(of_students) > 0.9
    assert largest_share(~of_students) < 0.75
    assert right(crowd)[of_students].mean() < 0.75  # they agree, but not on the truth


def spam(kind: str, **settings: Any) -> tuple[RichDraw, np.ndarray]:
    """A crowd in which half of the workers are of one kind, and their annotations, bool [E]."""
    generator = only(size(3000, 40, 4, 10), **{kind: {"share": (0.5, 0.5), **settings}})
    drawn = draw(generator)
    new = SPAMMERS[kind]
    struck = drawn.causes.kind == new
    assert set(np.unique(drawn.causes.kind)) == {0, int(new)}
    assert 0.25 < struck.mean() < 0.75
    return drawn, struck[drawn.crowd.worker_index]


def test_random_spammers_answer_uniformly() -> None:
    drawn, rows = spam("random_spammers")
    assert_counts_follow(confusion(drawn.crowd, rows), np.full((4, 4), 0.25))
    assert right(drawn.crowd)[~rows].mean() > 0.5


def test_constant_spammers_have_one_answer_each() -> None:
    drawn, rows = spam("constant_spammers")
    crowd = drawn.crowd
    answers = {w: set(crowd.option_index[crowd.worker_index == w].tolist()) for w in range(40)}
    constant = {w for w, given in answers.items() if len(given) == 1}
    assert constant == set(np.unique(crowd.worker_index[rows]).tolist())
    assert len({min(answers[w]) for w in constant}) > 1


def test_biased_spammers_follow_their_own_distribution() -> None:
    drawn, rows = spam("biased_spammers", concentration=(1.0, 1.0))
    crowd = drawn.crowd
    who = np.unique(crowd.worker_index[rows])
    counts = np.zeros((40, 4))
    np.add.at(counts, (crowd.worker_index[rows], crowd.option_index[rows]), 1)
    assert_counts_follow(counts[who], drawn.causes.spammer_answers[who])
    assert counts[who].max(axis=1).sum() > 0.4 * counts.sum()


def test_copying_workers_repeat_their_leader() -> None:
    drawn, rows = spam("copying_workers", fidelity=(0.9, 0.9))
    crowd, causes = drawn.crowd, drawn.causes
    given = np.full((crowd.num_tasks, 40), -1)
    given[crowd.task_index, crowd.worker_index] = crowd.option_index
    leader = causes.leader[crowd.worker_index]
    assert (causes.kind[causes.leader[causes.leader >= 0]] == WorkerKind.HONEST).all()
    theirs = np.where(rows & (leader >= 0), given[crowd.task_index, leader], -1)
    both = theirs >= 0
    assert both.sum() > 1000
    agreement = (crowd.option_index == theirs)[both].mean()
    assert agreement > 0.93  # nine of ten copy, and some of the others agree by themselves
    honest = np.flatnonzero(causes.kind == WorkerKind.HONEST)
    one, two = given[:, honest[0]], given[:, honest[1]]
    assert (one == two)[(one >= 0) & (two >= 0)].mean() < 0.6
    share = np.bincount(crowd.worker_index, weights=both) / np.bincount(crowd.worker_index)
    np.testing.assert_allclose(causes.shared_with_leader, share)


def test_adversaries_are_below_chance() -> None:
    drawn, rows = spam("adversaries", consistent=(0.0, 0.0))
    # Two in five answers are recognised, hence wrong; a quarter of the others is right by luck.
    assert abs(right(drawn.crowd)[rows].mean() - 0.6 / 4) < 0.015
    chance = 1 / (1 + np.exp(-drawn.crowd.worker_ability[drawn.causes.kind > 0]))
    assert chance.max() < 0.25
    fixed, rows = spam("adversaries", consistent=(1.0, 1.0))
    crowd = fixed.crowd
    worker = crowd.worker_index[rows][0]
    counts = confusion(crowd, crowd.worker_index == worker)
    # Two in five answers are foul, and a quarter of the others lands on the same option.
    assert (counts.max(axis=1) / counts.sum(axis=1)).min() > 0.45
