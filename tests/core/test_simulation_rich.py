"""Rich crowds: every mechanism by its own statistic, and absent when switched off."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from crowdfm_core.errors import ConfigError
from crowdfm_core.simulation import Acceptance, RichCrowds, SimulatedCrowd
from crowdfm_core.simulation.classes import (
    ClassImbalance,
    ConfusableClasses,
    OrdinalConfusion,
    PreferredAnswers,
    SharedConfusion,
)
from crowdfm_core.simulation.pieces import draw_rows
from crowdfm_core.simulation.spammers import WorkerKind
from tests.core.rich_crowds import (
    PIECES,
    SPAMMERS,
    assert_counts_follow,
    confusion,
    draw,
    only,
    right,
    size,
)
from tests.core.test_simulation import assert_consistent


def test_drawn_crowds_are_consistent() -> None:
    for seed in range(40):
        crowd = draw(RichCrowds(), seed).crowd
        assert_consistent(crowd)
        assert np.isfinite(crowd.worker_ability).all()
        assert np.isfinite(crowd.task_difficulty).all()


def test_without_mechanisms_all_are_alike_and_errors_uniform() -> None:
    drawn = draw(only(size(4000, 50, 4, 10)))
    crowd, causes = drawn.crowd, drawn.causes
    level = 0.25 + 0.4 * 0.75
    assert_counts_follow(confusion(crowd), np.where(np.eye(4, dtype=bool), level, (1 - level) / 3))
    truths = np.bincount(crowd.true_option)
    assert_counts_follow(truths[None], np.full((1, 4), 0.25))
    assert np.ptp(crowd.worker_ability) < 1e-9
    assert np.ptp(crowd.task_difficulty) < 1e-9
    assert not causes.kind.any()
    assert not causes.pull.any()
    assert not causes.habit_share.any()
    assert causes.tempting_share == 0
    assert (causes.sensitivity == 1).all()


@pytest.mark.parametrize("seed", range(6))
def test_answers_follow_the_table_of_the_drawn_causes(seed: int) -> None:
    # Workers and tasks alike: the crowd's own confusion matrix has a closed form.
    generator = only(
        size(5000, 50, 5, 20),
        class_skill={},
        preferred_answers={},
        confusable_classes={},
        ordinal_confusion={},
        shared_confusion={},
    )
    drawn = draw(generator, seed)
    known = 1 / (1 + np.exp(-drawn.causes.class_skill))[:, None]
    assert_counts_follow(
        confusion(drawn.crowd), known * np.eye(5) + (1 - known) * drawn.causes.fallback
    )


def test_strength_sets_the_mean_recall() -> None:
    settings: dict[str, Any] = {
        name: {} for name in ("class_imbalance", "class_skill", "preferred_answers")
    }
    settings |= {name: {} for name in ("worker_skill", "task_difficulty", "easy_and_hard")}
    settings |= {name: {} for name in ("habitual_errors", "tempting_answers", "task_sensitivity")}
    generator = only(size(2000, 64, 4, 10), **settings)
    errors = []
    for seed in range(30):
        counts = confusion(draw(generator, seed).crowd)
        seen = counts.sum(axis=1) > 200  # rare classes say little
        recall = np.diagonal(counts)[seen] / counts.sum(axis=1)[seen]
        if seen.all():
            errors.append(recall.mean() - 0.55)
    assert len(errors) > 12
    assert abs(np.mean(errors)) < 0.015
    assert np.std(errors) < 0.05


def test_ability_is_the_logit_of_the_expected_accuracy() -> None:
    # All kinds of workers together: squared deviations in units of their variance average to 1.
    shape = size(6000, 60, 4, 20)
    always: dict[str, Any] = {name: {} for name in PIECES}
    shares = {"share": (0.12, 0.12)}
    for name in SPAMMERS:
        always[name] = shares
    seen = set()
    for seed in range(5):
        drawn = draw(only(shape, **always), seed)
        crowd, kind = drawn.crowd, drawn.causes.kind
        expected = 1 / (1 + np.exp(-crowd.worker_ability))
        loads = np.bincount(crowd.worker_index)
        observed = np.bincount(crowd.worker_index, weights=right(crowd)) / loads
        # Drawn truths stray from the class frequencies, which moves all workers alike.
        assert np.abs(observed - expected).max() < 0.09
        assert abs((observed - expected).mean()) < 0.015
        seen |= set(kind.tolist())
    assert seen == {int(kind) for kind in WorkerKind}


def test_difficulty_orders_tasks_by_their_accuracy() -> None:
    settings: dict[str, Any] = {"ambiguous_tasks": {"share": (0.1, 0.1)}}
    settings |= {name: {} for name in ("task_difficulty", "easy_and_hard", "worker_skill")}
    drawn = draw(only(size(600, 400, 3, 300), **settings))
    crowd = drawn.crowd
    accuracy = np.bincount(crowd.task_index, weights=right(crowd)) / 300
    overall = np.log(accuracy.mean() / (1 - accuracy.mean()))
    predicted = 1 / (1 + np.exp(crowd.task_difficulty - overall))
    assert crowd.task_difficulty.std() > 0.3
    assert np.abs(accuracy - predicted).mean() < 0.03
    ambiguous = drawn.causes.pull > 0
    assert np.abs(accuracy - predicted)[ambiguous].mean() < 0.04


def test_easy_and_hard_tasks_are_two_kinds() -> None:
    mixture = {"hard": (0.3, 0.3), "gap": (3.0, 3.0)}
    drawn = draw(only(size(3000, 50, 3, 5), easy_and_hard=mixture))
    assert set(np.unique(drawn.causes.difficulty)) == {0.0, 3.0}
    assert abs((drawn.causes.difficulty == 3).mean() - 0.3) < 0.035
    hard = drawn.causes.difficulty[drawn.crowd.task_index] == 3
    assert right(drawn.crowd)[~hard].mean() - right(drawn.crowd)[hard].mean() > 0.3


def test_sensitive_tasks_tell_workers_apart() -> None:
    drawn = draw(
        only(
            size(2000, 100, 2, 50),
            task_sensitivity={"spread": (0.8, 0.8)},
            worker_skill={"spread": (1.4, 1.4)},
        )
    )
    crowd, causes = drawn.crowd, drawn.causes
    able = causes.skill[:, 0] > np.quantile(causes.skill[:, 0], 0.7)
    unable = causes.skill[:, 0] < np.quantile(causes.skill[:, 0], 0.3)

    def gap(tasks: np.ndarray) -> float:
        rows = tasks[crowd.task_index]
        who = crowd.worker_index
        hit = right(crowd)
        return float(hit[rows & able[who]].mean() - hit[rows & unable[who]].mean())

    sensitive = causes.sensitivity > np.median(causes.sensitivity)
    assert gap(sensitive) > gap(~sensitive) + 0.1


def test_classes_are_as_unequal_as_the_concentration() -> None:
    rng = np.random.default_rng(1)
    for concentration, largest in ((20.0, 0.56), (0.7, 0.78)):
        piece = ClassImbalance(probability=1, concentration=(concentration, concentration))
        shares = np.array([piece.sample(rng, 2) for _ in range(2000)])
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        assert abs(shares.max(axis=1).mean() - largest) < 0.02
    np.testing.assert_array_equal(ClassImbalance(probability=0).sample(rng, 4), np.full(4, 0.25))


def test_preferred_answers_ignore_the_truth() -> None:
    rng = np.random.default_rng(2)
    prior = np.array([0.7, 0.2, 0.1])
    _, table = PreferredAnswers(probability=1, follows_classes=1).sample(rng, prior)
    np.testing.assert_allclose(table, np.tile(prior, (3, 1)))
    _, table = PreferredAnswers(probability=1, follows_classes=0).sample(rng, prior)
    assert (table == table[0]).all()
    assert np.abs(table[0] - prior).max() > 1e-3
    assert PreferredAnswers(probability=0).sample(rng, prior)[0] == 0


def test_confusable_classes_stay_in_their_groups() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        _, table = ConfusableClasses(probability=1, group=(3, 3)).sample(rng, 10)
        np.testing.assert_allclose(table.sum(axis=1), 1)
        linked = table > 0
        assert not linked.diagonal().any()
        # Three groups of three, whose members name each other, and one class alone.
        assert sorted(linked.sum(axis=1)) == [2] * 9 + [9]
        inside = linked.sum(axis=1) == 2
        np.testing.assert_array_equal(linked[inside][:, inside], linked[inside][:, inside].T)


def test_ordinal_confusion_fades_with_distance_and_leans() -> None:
    rng = np.random.default_rng(4)
    piece = OrdinalConfusion(probability=1, reach=(1.5, 1.5), lean=(0.7, 0.7))
    _, table = piece.sample(rng, 7)
    np.testing.assert_allclose(table.sum(axis=1), 1)
    np.testing.assert_allclose(table[3, 4] / table[3, 5], np.exp(1 / 1.5))
    np.testing.assert_allclose(table[3, 4] / table[3, 2], np.exp(0.7))
    assert (table.diagonal() == 0).all()
    _, steep = OrdinalConfusion(probability=1, reach=(0.05, 0.05)).sample(rng, 50)
    np.testing.assert_allclose(steep.sum(axis=1), 1)


def test_shared_confusion_names_few_classes_where_concentration_is_low() -> None:
    rng = np.random.default_rng(5)

    def top(concentration: float) -> float:
        piece = SharedConfusion(probability=1, concentration=(concentration, concentration))
        tables = [piece.sample(rng, 6)[1] for _ in range(50)]
        assert all((table.diagonal() == 0).all() for table in tables)
        return float(np.mean([table.max(axis=1).mean() for table in tables]))

    assert top(0.1) > 0.75
    assert top(100.0) < 0.25


def test_ambiguous_tasks_pull_to_one_wrong_answer() -> None:
    settings = {"share": (0.2, 0.2), "pull": (0.8, 0.8)}
    drawn = draw(only(size(3000, 60, 5, 10), ambiguous_tasks=settings))
    crowd, causes = drawn.crowd, drawn.causes
    ambiguous = causes.pull > 0
    assert abs(ambiguous.mean() - 0.2) < 0.03
    assert (causes.tempting != crowd.true_option).all()
    pulled = crowd.option_index == causes.tempting[crowd.task_index]
    level = 0.2 + 0.4 * 0.8
    by_chance = (1 - level) / 4
    rows = ambiguous[crowd.task_index]
    assert abs(pulled[rows].mean() - (0.8 + 0.2 * by_chance)) < 0.02
    assert abs(pulled[~rows].mean() - by_chance) < 0.02


def test_errors_on_a_task_agree_where_an_answer_tempts() -> None:
    drawn = draw(only(size(3000, 60, 5, 10), tempting_answers={"share": (0.5, 0.5)}))
    crowd, causes = drawn.crowd, drawn.causes
    wrong = ~right(crowd)
    tempted = (crowd.option_index == causes.tempting[crowd.task_index])[wrong].mean()
    # Half of the lost answers are tempted; of the others a fifth is right by luck.
    assert abs(tempted - (0.5 + 0.5 / 5) / (0.5 + 0.5 * 4 / 5)) < 0.02


@pytest.mark.parametrize("name", PIECES)
def test_mechanism_switched_off_leaves_the_other_causes_alone(name: str) -> None:
    always: dict[str, Any] = {piece: {} for piece in PIECES}
    for kind in SPAMMERS:
        always[kind] = {"share": (0.15, 0.15)}
    everything = only(size(600, 60, 4, 5), **always)
    without = replace(everything, **{name: replace(getattr(everything, name), probability=0.0)})
    full, less = draw(everything), draw(without)
    np.testing.assert_array_equal(full.crowd.worker_index, less.crowd.worker_index)
    own = {
        "easy_and_hard": "difficulty",
        "task_difficulty": "difficulty",
        "task_sensitivity": "sensitivity",
        "ambiguous_tasks": "pull",
        "tempting_answers": "tempting_share",
        "class_imbalance": "prior",
        "habitual_errors": "habit_share",
    }
    for cause in ("difficulty", "sensitivity", "pull", "tempting_share", "prior", "habit_share"):
        same = np.array_equal(getattr(full.causes, cause), getattr(less.causes, cause))
        assert same == (own.get(name) != cause), cause
    assert not np.array_equal(full.crowd.option_index, less.crowd.option_index)


def test_crowd_depends_on_the_seed_alone() -> None:
    first, again, other = (draw(RichCrowds(), seed).crowd for seed in (5, 5, 6))
    for field in fields(SimulatedCrowd):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.num_annotations != other.num_annotations


def test_hopeless_and_trivial_crowds_are_drawn_again() -> None:
    accept = Acceptance()
    for strength, verdict in (((0.0, 0.02), "hopeless"), ((0.99, 0.99), "trivial")):
        fixed = only(size(400, 40, 4, 5), strength=strength)
        assert accept.verdict(draw(fixed).crowd) == verdict
        # Nothing else can be drawn: the last of the attempts is taken.
        stuck = replace(fixed, acceptance=accept)
        assert accept.verdict(draw(stuck).crowd) == verdict
    wide = only(size(400, 40, 4, 5), strength=(0.0, 0.999))
    refused = [accept.verdict(draw(wide, seed).crowd) != "accepted" for seed in range(60)]
    assert sum(refused) > 5
    again = replace(wide, acceptance=accept)
    verdicts = [accept.verdict(draw(again, seed).crowd) for seed in range(60)]
    assert verdicts.count("accepted") == 60


def test_draw_rows_never_draws_what_is_impossible() -> None:
    table = np.array([[0.0, 0.25, 0.0, 0.75], [1.0, 0.0, 0.0, 0.0]])
    row = np.tile(np.array([0, 1], np.int32), 20_000)
    column = draw_rows(np.random.default_rng(1), table, row)
    counts = np.zeros((2, 4))
    np.add.at(counts, (row, column), 1)
    assert_counts_follow(counts, table)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"(?s)probability.*\[0, 1\].*concentration.*low <= high"):
        ClassImbalance(probability=1.2, concentration=(3.0, 2.0))
    with pytest.raises(ConfigError, match="strength"):
        RichCrowds(strength=(0.5, 1.0))
