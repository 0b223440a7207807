"""Frozen weights in the worlds of the classical models: the worlds, the measure, the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crowdfm_core.errors import ConfigError
from crowdfm_core.evaluation import scored_credit
from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.methods.registry import METHODS, aggregate
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch, Scorer
from crowdfm_core.simulation import DawidSkeneCrowds, OneCoinCrowds, WorldDraw
from crowdfm_core.simulation_checks.classical_worlds import (
    ANSWERS_PER_TASK,
    OPTIONS,
    TASKS,
    WORKERS,
    WORLDS,
)
from crowdfm_core.simulation_checks.world_results import (
    Cell,
    Difference,
    answers_of,
    json_records,
    markdown,
    measure,
)
from crowdfm_core.weights import load_weights
from jobs.cli import main
from jobs.simulate import main as simulate

CELLS = [(name, k, n) for name in WORLDS for k in OPTIONS for n in ANSWERS_PER_TASK]


class Voter:
    """A model that knows nothing but votes; ties go to the smallest option."""

    def score(self, batch: AnnotationBatch) -> ScoredBatch:
        tasks, workers = len(batch.task_project), batch.num_workers
        votes = count_votes(batch.task_index, batch.option_index, num_tasks=tasks)
        label = votes.labels().astype(np.int32)
        ones, nothing = np.ones(tasks), np.full(workers, np.nan)
        return ScoredBatch(
            label_index=label,
            probability=ones,
            runner_up_index=np.full(tasks, -1, np.int32),
            runner_up_probability=0 * ones,
            entropy=0 * ones,
            difficulty=np.nan * ones,
            top_offsets=np.arange(tasks + 1),
            top_option_index=label,
            top_probability=ones,
            ability=nothing,
            expected_accuracy=nothing,
            agreement_with_aggregate=nothing,
            num_annotations=np.bincount(batch.worker_index, minlength=workers),
        )


def cell(**models: list[float]) -> Cell:
    return Cell(
        world="one_coin",
        options=2,
        answers_per_task=5,
        methods={"dawid_skene": np.array([0.8, 0.9]), "glad": np.array([0.8, 0.86])},
        majority_vote=np.array([0.75, 0.8]),
        models={name: np.array(values) for name, values in models.items()},
    )


def oracle_accuracy(drawn: WorldDraw) -> float:
    """Accuracy of the posterior under the true confusion matrices and class frequencies."""
    crowd = drawn.crowd
    score = np.tile(np.log(drawn.prior), (crowd.num_tasks, 1))
    rows = drawn.confusion[crowd.worker_index, :, crowd.option_index]
    np.add.at(score, crowd.task_index, np.log(rows + 1e-12))
    return float((score.argmax(axis=1) == crowd.true_option).mean())


@pytest.mark.parametrize(("name", "options", "answers"), CELLS)
def test_voting_is_neither_hopeless_nor_right_and_the_right_method_is_ahead(
    name: str, options: int, answers: int
) -> None:
    found = measure(
        {},
        worlds=[name],
        options=[options],
        answers_per_task=[answers],
        crowds=4,
        seed=3,
    )[0]
    assert 0.6 < found.majority_vote.mean() < 0.9
    assert found.right in WORLDS[name].right
    assert found.methods[found.right].mean() > found.majority_vote.mean() + 0.02
    crowd = WORLDS[name].crowds(options, answers).sample(np.random.default_rng(1))
    assert (crowd.num_tasks, crowd.num_workers) == (TASKS, WORKERS)
    assert crowd.num_annotations == TASKS * answers


@pytest.mark.parametrize("name", ["independent_confusions", "biased_confusions", "one_coin"])
def test_no_method_is_ahead_of_the_true_parameters(name: str) -> None:
    best, oracle = [], []
    for seed in range(4):
        world = WORLDS[name].crowds(4, 20)
        assert isinstance(world, DawidSkeneCrowds | OneCoinCrowds)
        drawn = world.draw(np.random.default_rng(seed))
        oracle.append(oracle_accuracy(drawn))
        result = aggregate(WORLDS[name].right[0], answers_of(drawn.crowd))
        best.append((result.label == drawn.crowd.true_option).mean())
    # One task of 1,000 may go either way.
    assert np.mean(best) < np.mean(oracle) + 0.002
    assert np.mean(best) > np.mean(oracle) - 0.03


def test_measured_accuracies_are_those_of_the_drawn_crowds() -> None:
    weights = Scorer(load_weights(), num_draws=1)
    found = measure(
        {"voter": Voter(), "default": weights},
        worlds=["one_coin"],
        options=[2],
        answers_per_task=[20],
        crowds=2,
        seed=5,
    )[0]
    place = list(WORLDS).index("one_coin")
    for number in range(2):
        rng = np.random.default_rng([5, place, 2, 20, number])
        crowd = WORLDS["one_coin"].crowds(2, 20).sample(rng)
        votes = count_votes(crowd.task_index, crowd.option_index, num_tasks=TASKS)
        right = votes.labels() == crowd.true_option
        assert found.models["voter"][number] == pytest.approx(right.mean())
        assert found.majority_vote[number] == pytest.approx(votes.credit(crowd.true_option).mean())
        labels = aggregate("one_coin_dawid_skene", answers_of(crowd)).label
        expected = (labels == crowd.true_option).mean()
        assert found.methods["one_coin_dawid_skene"][number] == pytest.approx(expected)
        batch = AnnotationBatch(
            task_index=crowd.task_index,
            worker_index=crowd.worker_index,
            option_index=crowd.option_index,
            task_project=np.zeros(TASKS, np.int32),
            project_ids=[f"crowd {number}"],
            num_options=np.array([2], np.int32),
            num_workers=WORKERS,
        )
        credit = scored_credit(weights.score(batch), crowd.true_option)
        assert found.models["default"][number] == pytest.approx(credit.mean())
    assert found.models["default"].mean() > found.models["voter"].mean()


def test_differences_are_paired_and_in_points() -> None:
    some = Difference.of(np.array([0.8, 0.7, 0.9]), np.array([0.79, 0.71, 0.87]))
    assert some.mean == pytest.approx(1.0)
    assert some.error == pytest.approx(np.std([1, -1, 3], ddof=1) / np.sqrt(3))
    alone = Difference.of(np.array([0.8]), np.array([0.9]))
    assert alone.mean == pytest.approx(-10)
    assert np.isnan(alone.error)


@pytest.mark.parametrize(
    ("mean", "error", "mark"),
    [
        (-0.49, 0.01, ""),
        (-0.6, 0.04, "R"),
        (-0.6, 0.06, "R?"),
        (-0.6, float("nan"), "R?"),  # one crowd proves nothing
        (2.0, 9.0, ""),
    ],
)
def test_mark_says_whether_the_lag_is_certain(mean: float, error: float, mark: str) -> None:
    assert Difference(mean, error).mark(-0.5, "R") == mark


def test_right_method_is_the_best_of_those_that_fit() -> None:
    some = cell(good=[0.81, 0.91], bad=[0.71, 0.77], near=[0.797, 0.896])
    assert some.right == "dawid_skene"
    assert some.marks("good") == []
    assert some.marks("bad") == ["R", "V"]
    assert some.marks("near") == []
    assert some.ahead_of_right("bad").mean == pytest.approx(-11.0)
    assert some.ahead_of_majority_vote("bad").mean == pytest.approx(-3.5)


def test_table_marks_and_counts_what_is_behind() -> None:
    cells = [cell(good=[0.81, 0.91], bad=[0.71, 0.77]), cell(good=[0.9, 0.95], bad=[0.8, 0.9])]
    table = markdown(cells)
    assert "| one_coin | 2 | 5 | 77.50 | DS | 85.00 | 86.00 (+1.00 ± 0.00) |" in table
    assert "74.00 (-11.00 ± 2.00) **R** **V** |" in table
    assert "- good: 0 of 2 worlds R" in table
    assert "- bad: 1 of 2 worlds R (1 beyond two standard errors), 1 V (1); -5.50 points" in table
    records = json_records(cells)
    json.dumps(records, allow_nan=False)
    assert len(records) == 2 * (1 + 2 + 2)
    bad = next(record for record in records if record["method"] == "bad")
    assert bad["accuracy"] == pytest.approx(74.0)
    assert (bad["kind"], bad["right_method"], bad["marks"]) == ("frozen", "dawid_skene", ["R", "V"])
    assert bad["points_to_right_method"] == pytest.approx(-11.0)


def test_every_right_method_is_registered() -> None:
    assert {name for world in WORLDS.values() for name in world.right} <= set(METHODS)


def test_command_prints_the_table_and_writes_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "worlds.jsonl"
    chosen = ["--worlds", "glad", "--options", "4", "--answers", "5", "--crowds", "1"]
    assert main(["simulate", "worlds", *chosen, "--json", str(written)]) == 0
    shown = capsys.readouterr().out
    assert "| glad | 4 | 5 |" in shown
    assert "- default: " in shown
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line["method"] for line in lines] == ["majority_vote", "glad", "default"]
    # One crowd has no standard error, and JSON no NaN.
    assert "error_to_right_method" not in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--worlds", "two_coin"], "--worlds: .*\n.*'one_coin'.*, got 'two_coin'"),
        (["--options", "3"], "--options: .*\n.*expected 2, 4, 8, got 3"),
        (["--answers", "7"], "--answers: .*\n.*expected 5, 20, got 7"),
    ],
)
def test_command_names_what_is_known(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(["worlds", *arguments])


def test_weights_of_one_folder_name_are_told_apart() -> None:
    from crowdfm_core.simulation_checks.commands import _short_names

    assert _short_names(["runs/a", "b"]) == ["a", "b"]
    assert _short_names(["x/a", "y/a"]) == ["x/a", "y/a"]
    assert _short_names(["rich", "/tmp/other.yaml"]) == ["rich", "other"]


def test_file_that_cannot_be_written_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none" / "out"
    draw = ["simulate", "resemblance", "--recipe", "uniform", "--crowds", "1"]
    assert main([*draw, "--json", f"{missing}.jsonl"]) == 2
    assert "none/out.jsonl cannot be written: No such file" in capsys.readouterr().err
    assert main([*draw, "--plot", f"{missing}.png"]) == 2
    assert "none/out.png cannot be written" in capsys.readouterr().err
    assert main([*draw, "--plot", str(tmp_path / "out.txt")]) == 2
    assert "out.txt cannot be written: Format 'txt' is not supported" in capsys.readouterr().err
