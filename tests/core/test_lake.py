"""Simulated lakes: sizes, rows, presets, and that pieces are all they depend on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfm_core.errors import ConfigError
from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.simulation import lake as lake_module
from crowdfm_core.simulation.lake import CrowdPlan, Lake, LakeSizes, draw_plans
from crowdfm_core.simulation.lake_answers import PRESETS
from crowdfm_core.simulation.lake_rows import annotation_rows, gold_rows
from jobs.cli import main

ROOT = Path(__file__).resolve().parents[2]
KEY = ["project", "task", "worker"]

# Draws all rows of a large lake and prints the largest resident memory in MiB.
DRAW_TEN_MILLION = r"""
import re
from pathlib import Path
from crowdfm_core.simulation.lake import Lake, LakeSizes, draw_plans
from crowdfm_core.simulation.lake_rows import annotation_rows
lake = Lake(draw_plans(LakeSizes(10_000_000, 2_000, largest_share=0.3), seed=1), 1)
rows = sum(annotation_rows(lake, piece).num_rows for piece in lake.pieces())
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
print(rows, int(peak) // 1024)
"""


def one_crowd(preset: str, **changes: Any) -> Lake:
    """A lake of one project, without bad and repeated rows."""
    plan = CrowdPlan(
        number=7,
        project="p",
        options=("a", "b", "c"),
        annotations=changes.pop("annotations", 6_000),
        tasks=changes.pop("tasks", 1_000),
        workers=changes.pop("workers", 60),
        preset=preset,
    )
    return Lake((plan,), 1, **({"bad_rows": 0.0, "repeated_rows": 0.0} | changes))


def answers_of(lake: Lake) -> pd.DataFrame:
    drawn = pa.Table.from_batches([annotation_rows(lake, piece) for piece in lake.pieces()])
    return pd.DataFrame(drawn.to_pandas())


def gold_of(lake: Lake) -> pd.DataFrame:
    drawn = pa.Table.from_batches([gold_rows(lake, piece) for piece in lake.pieces()])
    return pd.DataFrame(drawn.to_pandas())


@given(
    projects=st.integers(2, 300),
    more=st.integers(0, 100_000),
    extra_share=st.none() | st.floats(0, 0.95),
)
def test_sizes_add_up_fall_and_start_with_the_largest_share(
    projects: int, more: int, extra_share: float | None
) -> None:
    share = None if extra_share is None else 1 / projects + extra_share * (1 - 1 / projects)
    sizes = LakeSizes(projects + more, projects, largest_share=share)
    numbers = [plan.annotations for plan in draw_plans(sizes, seed=1)]
    assert sum(numbers) == projects + more
    assert min(numbers) >= 1
    assert numbers == sorted(numbers, reverse=True)
    if share is not None:
        # Each project has one annotation before shares are given, and rounding goes to the first.
        assert abs(numbers[0] - (1 + share * more)) <= projects


@given(tasks=st.integers(1, 3_000), more=st.integers(0, 9_000), piece=st.integers(1, 4_000))
def test_pieces_hold_every_task_once_and_an_answer_for_each(
    tasks: int, more: int, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake_module, "_PIECE", piece)
        sizes = {"tasks": tasks, "annotations": tasks + more, "workers": 10_000}
        pieces = one_crowd("hammer-spammer", **sizes).pieces()
    held = np.concatenate([np.arange(p.first_task, p.first_task + p.tasks) for p in pieces])
    assert sorted(held) == list(range(tasks))
    assert sum(p.annotations for p in pieces) == tasks + more
    assert all(p.annotations >= p.tasks >= 1 for p in pieces)


@pytest.mark.parametrize("preset", PRESETS)
def test_answers_are_as_many_as_planned_and_no_worker_repeats_one(preset: str) -> None:
    lake = one_crowd(preset)
    answers = answers_of(lake)
    assert len(answers) == 6_000
    assert not answers.duplicated(KEY).any()
    assert answers["task"].nunique() == 1_000
    assert set(answers["label"]) == {"a", "b", "c"}


@pytest.mark.parametrize("preset", PRESETS)
def test_most_votes_find_the_known_truth(preset: str) -> None:
    lake = one_crowd(preset, gold=0.999)
    answers, gold = answers_of(lake), gold_of(lake).set_index("task")["true_label"]
    known = answers[answers["task"].isin(gold.index)]
    task, names = pd.factorize(known["task"])
    option = pd.Categorical(known["label"], categories=["a", "b", "c"]).codes
    truth = pd.Categorical(gold.loc[names], categories=["a", "b", "c"]).codes
    votes = count_votes(task, np.asarray(option, np.int32), num_tasks=len(names))
    assert votes.credit(np.asarray(truth, np.int32)).mean() > 0.7  # by chance 0.33 to 0.6


def test_votes_are_even_or_not_as_the_preset_says() -> None:
    even = answers_of(one_crowd("independent-confusion"))["task"].value_counts()
    uneven = answers_of(one_crowd("imbalanced-votes"))["task"].value_counts()
    assert even.max() - even.min() <= 1
    assert uneven.min() <= 2
    assert uneven.max() >= 12


def test_uneven_votes_of_few_workers_are_as_many_as_planned() -> None:
    votes = answers_of(one_crowd("imbalanced-votes", workers=7))["task"].value_counts()
    assert votes.sum() == 6_000  # of at most 7,000
    assert votes.max() == 7


def test_more_answers_than_tasks_and_workers_allow_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"annotations of p: .*\(1000 to 5000\), got 6000"):
        one_crowd("hammer-spammer", workers=5)


def test_hammers_are_always_right_and_spammers_guess_in_every_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lake_module, "_PIECE", 6_000)
    lake = one_crowd("hammer-spammer", annotations=24_000, tasks=4_000, workers=40, gold=0.999)
    assert len(lake.pieces()) == 4
    rows = answers_of(lake).merge(gold_of(lake), on=["project", "task"])
    right = (rows["label"] == rows["true_label"]).groupby(rows["worker"]).mean()
    spams = right < 1
    assert 3 <= spams.sum() <= 25
    busy = rows["worker"].value_counts()[right.index] > 100
    assert right[spams & busy].between(0.15, 0.55).all()


def test_students_give_their_teachers_answers() -> None:
    rng = np.random.default_rng(3)
    population = PRESETS["student-teacher"].draw(rng, 20, 3)
    task, worker = (grid.ravel() for grid in np.meshgrid(np.arange(50), np.arange(20)))
    given_answers = population.answers(
        rng, rng.integers(0, 3, 50, np.int32), task.astype(np.int32), worker.astype(np.int32)
    )
    patterns = np.unique(given_answers.reshape(20, 50), axis=0)
    assert len(patterns) == 4  # a fifth of 20


def test_independent_confusions_are_recovered_from_answers() -> None:
    rng = np.random.default_rng(4)
    population: Any = PRESETS["independent-confusion"].draw(rng, 2, 3)
    truth = np.repeat(np.arange(3, dtype=np.int32), 20_000)
    task = np.arange(60_000, dtype=np.int32)
    for worker in range(2):
        answer = population.answers(rng, truth, task, np.full(60_000, worker, np.int32))
        found = np.zeros((3, 3))
        np.add.at(found, (truth, answer), 1 / 20_000)
        np.testing.assert_allclose(found, population.confusion[worker], atol=0.02)


def test_easy_tasks_are_unanimous_and_random_ones_are_guessed() -> None:
    rng = np.random.default_rng(5)
    tasks, workers = 2_000, 40
    population = PRESETS["discrete-difficulty"].draw(rng, workers, 4)
    task = np.repeat(np.arange(tasks, dtype=np.int32), workers)
    worker = np.tile(np.arange(workers, dtype=np.int32), tasks)
    truth = rng.integers(0, 4, tasks, dtype=np.int32)
    right = population.answers(rng, truth, task, worker).reshape(tasks, workers) == truth[:, None]
    share = right.mean(axis=1)
    assert (share == 1).mean() == pytest.approx(0.55, abs=0.05)
    assert (share < 0.45).mean() == pytest.approx(0.1, abs=0.03)


def test_bad_and_repeated_rows_come_in_their_shares() -> None:
    clean = answers_of(one_crowd("hammer-spammer"))
    lake = one_crowd("hammer-spammer", bad_rows=0.2, repeated_rows=0.1)
    rows = answers_of(lake)
    missing = rows[["worker", "label"]].isna().any(axis=1)
    blank = rows[["task", "label"]].apply(lambda column: column.str.strip().eq("")).any(axis=1)
    undated = pd.to_datetime(rows["answered_at"], errors="coerce", utc=True).isna()
    bad = missing | blank | undated
    assert bad.sum() == pytest.approx(1_200, rel=0.1)
    kinds = [rows["worker"].isna(), rows["label"].isna(), rows["task"].eq("   "), undated]
    assert [int(kind.sum()) for kind in kinds] == pytest.approx([240] * 4, rel=0.25)
    repeated = rows[~bad].duplicated(KEY)
    assert repeated.sum() == pytest.approx(600, rel=0.15)
    changed = rows[~bad].groupby(KEY)["label"].nunique().gt(1).sum()
    assert changed == pytest.approx(300, rel=0.25)
    # The annotations themselves are those of the lake without such rows.
    assert len(clean.merge(rows[~bad], on=list(clean.columns))) == len(clean)


def test_equal_seeds_draw_equal_rows_whichever_piece_comes_first() -> None:
    sizes = LakeSizes(5_000, 30)
    lake = Lake(draw_plans(sizes, seed=2), 2)
    again = Lake(draw_plans(sizes, seed=2), 2)
    forwards = [annotation_rows(lake, piece) for piece in lake.pieces()]
    backwards = [annotation_rows(again, piece) for piece in reversed(again.pieces())]
    assert forwards == backwards[::-1]
    other = Lake(draw_plans(sizes, seed=3), 3)
    assert forwards != [annotation_rows(other, piece) for piece in other.pieces()]


def test_sizes_of_senti_can_be_asked_for() -> None:
    sizes = LakeSizes(
        569_375,
        1,
        answers_per_task=(569_375 / 98_980,) * 2,
        answers_per_worker=(569_375 / 1_960,) * 2,
        options=5,
    )
    (plan,) = draw_plans(sizes, seed=1)
    assert (plan.annotations, plan.tasks, plan.workers) == (569_375, 98_980, 1_960)
    assert len(plan.options) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--projects", "0"], "projects: expected 1 to"),
        (["--projects", "200"], "projects: expected 1 to"),
        (["--largest-share", "0.01"], "largest_share: expected 0.1 "),
        (["--largest-share", "1"], "largest_share: expected 0.1 "),
        (["--answers-per-task", "5", "2"], "answers_per_task: expected 1 <= low <= high"),
        (["--options", "1"], "options: expected 2 to 26, got 1"),
        (["--seed", "-1"], "seed: expected a number >= 0, got -1"),
        (["--bad-rows", "1.5"], re.escape("bad_rows: expected a share in [0, 1), got 1.5")),
    ],
)
def test_bad_settings_are_one_message_and_exit_code_2(
    settings: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--annotations", "100", "--projects", "10", "--out", str(tmp_path)]
    assert main(["simulate", "lake", *usual, *settings]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match="3 problem"):
        LakeSizes(10, 2, options=1, preset="spammers", answers_per_worker=(0, 1))


@pytest.mark.slow
def test_ten_million_rows_are_drawn_in_bounded_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRAW_TEN_MILLION], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows, mebibytes = map(int, done.stdout.split())
    assert rows > 10_000_000
    assert mebibytes < 1_024
