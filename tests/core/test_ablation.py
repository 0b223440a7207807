"""Ablations: equal budgets, the same crowds for all variants, resumption, and an honest report."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.pretraining.__main__ import main
from crowdfm_core.pretraining.ablation import RunResult, run_ablation
from crowdfm_core.pretraining.ablation_plan import BASE, Budget, common_crowds, read_plan
from crowdfm_core.pretraining.ablation_report import json_records, markdown_report
from crowdfm_core.pretraining.objective import outputs_of
from crowdfm_core.pretraining.recipe import read_recipe
from crowdfm_core.pretraining.run_files import load_checkpoint
from crowdfm_core.pretraining.training import train
from crowdfm_core.pretraining.validation import draw_validation_crowds

CONF = Path(__file__).parents[2] / "conf" / "pretraining"
TINY = CONF / "tiny.yaml"
CPU = torch.device("cpu")
STEPS = 6

UNROLLED = {"architecture": "unrolled", "model": {"width": 8, "layers": 2, "hidden": 12}}


def plan_file(folder: Path, **changes: Any) -> Path:
    """A plan beside tiny.yaml; uniform.yaml with small crowds stands for another recipe."""
    (folder / "tiny.yaml").write_text(TINY.read_text())
    uniform = yaml.safe_load(TINY.read_text())
    uniform["mechanisms"][0] = {
        "name": "uniform",
        "generator": "uniform",
        "sizes": uniform["mechanisms"][0]["sizes"],
    }
    (folder / "uniform.yaml").write_text(yaml.safe_dump(uniform))
    plan = {
        "base": "tiny.yaml",
        "training": {"steps": STEPS, "crowds_per_step": 2, "warmup_steps": 1},
        "validation": {"crowds": 3},
        "variants": [
            {"name": "unrolled", "group": "architecture", **UNROLLED},
            {"name": "mean", "group": "architecture", "model": {"aggregation": "mean"}},
            {"name": "uniform", "group": "simulator", "crowds_of": "uniform.yaml"},
        ],
        **changes,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def real_sets(folder: Path) -> Path:
    """Majority voting is right on all tasks of the first, on half of the second; one is bad."""
    sets = {"easy": [("1", "a"), ("2", "b")], "hard": [("1", "a"), ("2", "a")]}
    answers = [("1", "u", "a"), ("1", "v", "a"), ("2", "u", "b"), ("2", "v", "b"), ("2", "w", "b")]
    for name, truths in sets.items():
        (folder / name).mkdir(parents=True)
        lines = ["task,worker,answer", *(",".join(row) for row in answers)]
        (folder / name / "label.csv").write_text("\n".join(lines) + "\n")
        lines = ["task,truth", *(",".join(row) for row in truths)]
        (folder / name / "truth.csv").write_text("\n".join(lines) + "\n")
    (folder / "untrue").mkdir()
    (folder / "untrue" / "label.csv").write_text("task,worker,answer\n1,u,a\n")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Plan, out and data of one whole command."""
    folder = tmp_path_factory.mktemp("ablation")
    plan, out, data = plan_file(folder), folder / "out", real_sets(folder / "sets")
    command = ["ablate", "--plan", str(plan), "--out", str(out), "--data", str(data)]
    assert main([*command, "--device", "cpu", "--json", str(folder / "records.jsonl")]) == 0
    return plan, out, data


def records_of(path: Path) -> dict[str, dict[str, Any]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {record["variant"]: record for record in records}


def test_ablate_trains_every_variant_on_the_same_budget(
    finished: tuple[Path, Path, Path],
) -> None:
    _, out, _ = finished
    records = records_of(out.parent / "records.jsonl")
    assert list(records) == [BASE, "unrolled", "mean", "uniform"]
    for name, record in records.items():
        state = load_checkpoint(out / name / "seed_1" / "checkpoint.pt")
        assert state.step == record["steps"] == STEPS
        assert state.recipe.training.crowds_per_step == 2
    sizes = [record["num_parameters"] for record in records.values()]
    assert sizes[0] == sizes[2] == sizes[3] != sizes[1]


def test_ablate_measures_all_variants_beside_the_same_majority_voting(
    finished: tuple[Path, Path, Path],
) -> None:
    _, out, _ = finished
    for record in records_of(out.parent / "records.jsonl").values():
        assert set(record["synthetic_accuracy_of_mechanism"]) == {"small_crowds"}
        assert record["real_majority_vote_accuracy_of_set"] == {"easy": 100.0, "hard": 50.0}
        real = record["real_accuracy_of_set"]
        assert record["real_accuracy"] == pytest.approx(np.mean(list(real.values())))
        assert any("untrue" in problem for problem in record["real_problems"])
    votes = {
        r["synthetic_majority_vote_accuracy"]
        for r in records_of(out.parent / "records.jsonl").values()
    }
    assert len(votes) == 1


def test_synthetic_accuracy_equals_a_count_over_the_common_crowds(
    finished: tuple[Path, Path, Path],
) -> None:
    """Second route: task by task, from the checkpoint."""
    plan, out, _ = finished
    ablation = read_plan(plan, Budget())
    records = records_of(out.parent / "records.jsonl")
    for variant in ablation.variants:
        state = load_checkpoint(out / variant.name / "seed_1" / "checkpoint.pt")
        recipe = common_crowds(ablation, variant)
        (group,) = draw_validation_crowds(recipe)
        (pack,) = group.packs
        logits = outputs_of(recipe, state.average, pack, TorchOps()).logits[-1].detach().numpy()
        right: list[list[bool]] = [[] for _ in pack.crowds]
        for task in range(pack.graph.num_tasks):
            candidates = np.flatnonzero(pack.candidate_task == task)
            best = candidates[np.argmax(logits[candidates])]
            right[pack.task_crowd[task]].append(bool(best == pack.true_candidate[task]))
        expected = 100 * np.mean([np.mean(crowd) for crowd in right])
        assert records[variant.name]["synthetic_accuracy"] == pytest.approx(expected)


def test_common_crowds_are_the_same_for_every_model_and_training_generator(tmp_path: Path) -> None:
    ablation = read_plan(plan_file(tmp_path), Budget())
    first, *others = (
        [
            crowd
            for group in draw_validation_crowds(common_crowds(ablation, variant))
            for pack in group.packs
            for crowd in pack.crowds
        ]
        for variant in ablation.variants
    )
    assert len(first) == 3
    for crowds in others:
        for one, other in zip(first, crowds, strict=True):
            np.testing.assert_array_equal(one.option_index, other.option_index)
            np.testing.assert_array_equal(one.worker_index, other.worker_index)
            np.testing.assert_array_equal(one.true_option, other.true_option)


def test_resume_keeps_finished_runs_and_ends_interrupted_ones(
    finished: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    ablation = read_plan(finished[0], Budget()).only(["unrolled", "mean"])
    whole = finished[1]
    base, unrolled, _ = ablation.variants
    train(base.recipe, tmp_path / BASE / "seed_1", device=CPU)
    train(unrolled.recipe, tmp_path / "unrolled" / "seed_1", device=CPU, stop_after_steps=2)
    kept = tmp_path / BASE / "seed_1" / "checkpoint.pt"
    before = kept.stat().st_mtime_ns
    seen: list[int] = []
    results = run_ablation(
        ablation, tmp_path, device=CPU, resume=True, after_each=lambda done: seen.append(len(done))
    )
    assert kept.stat().st_mtime_ns == before
    assert seen == [1, 2, 3]
    expected = records_of(whole.parent / "records.jsonl")
    for result in results:
        assert result.steps == STEPS
        assert 100 * result.synthetic_accuracy == pytest.approx(
            expected[result.variant]["synthetic_accuracy"]
        )
    # What was measured is read back, unless other crowds are asked for.
    marked = tmp_path / "mean" / "seed_1" / "result.json"
    record = json.loads(marked.read_text())
    record["result"]["synthetic_loss"] = 99.0
    marked.write_text(json.dumps(record))
    again = run_ablation(ablation, tmp_path, device=CPU, resume=True)
    assert again[2].synthetic_loss == 99.0
    other = replace(ablation, validation=replace(ablation.validation, seed=3))
    fresh = run_ablation(other, tmp_path, device=CPU, resume=True)
    assert fresh[2].synthetic_loss < 99.0


def test_two_seeds_start_from_different_weights(tmp_path: Path) -> None:
    ablation = read_plan(plan_file(tmp_path), Budget(num_seeds=2)).only([BASE])
    results = run_ablation(ablation, tmp_path / "out", device=CPU)
    assert [result.seed for result in results] == [1, 2]
    assert results[0].synthetic_loss != results[1].synthetic_loss


def test_spread_over_seeds_and_paired_differences_are_reported() -> None:
    accuracies = {BASE: (0.5, 0.7), "other": (0.55, 0.71), "late": (0.52,)}
    results = [
        replace(run_result(name), seed=seed, synthetic_accuracy=accuracy)
        for name, of_seed in accuracies.items()
        for seed, accuracy in enumerate(of_seed, start=1)
    ]
    text = markdown_report(results)
    assert "| 60.00 (50.00 to 70.00) | - |" in text
    assert "| 63.00 (55.00 to 71.00) | +3.00 (+1.00 to +5.00) |" in text
    assert "| 52.00 | +2.00 |" in text  # against the base with the same seed
    assert "over seeds 1, 2;" in text


def run_result(variant: str, **real: float) -> RunResult:
    return RunResult(
        variant=variant,
        group=variant,
        changes="a | b",
        seed=1,
        num_parameters=1000,
        steps=5,
        training_seconds=1.0,
        synthetic_accuracy=0.8 if variant == BASE else 0.75,
        synthetic_loss=0.5,
        synthetic_majority_vote_accuracy=0.7,
        synthetic_accuracy_of_mechanism={"thin": 0.6, "dense": 0.9},
        real_accuracy_of_set=real,
        real_majority_vote_accuracy_of_set={"one": 0.5, "two": 0.5},
    )


def test_report_compares_variants_on_the_sets_that_all_have() -> None:
    results = [run_result(BASE, one=0.9, two=0.7), run_result("other", one=0.95)]
    assert [record["real_accuracy"] for record in json_records(results)] == [90.0, 95.0]
    text = markdown_report(results)
    assert "| 75.00 | -5.00 | 95.00 | +5.00 |" in text
    assert "a \\| b" in text
    assert "mean over 1 sets; majority voting has 50.00" in text
    assert "| other | 60.00 | 90.00 |" in text


def test_report_without_real_sets_has_no_columns_for_them() -> None:
    text = markdown_report([run_result("other")])
    assert "real" not in text
    assert "| 75.00 | - |" in text  # and without the base no difference
    assert [record["real_accuracy"] for record in json_records([run_result("other")])] == [None]


def test_picture_and_markdown_are_written(finished: tuple[Path, Path, Path]) -> None:
    _, out, _ = finished
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "report.md").read_text()
    assert "| simulator | uniform | crowds of uniform.yaml |" in text
    assert "- untrue: " in text


def test_old_runs_are_refused_without_resume_and_never_mixed_with_other_recipes(
    finished: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out, _ = finished
    command = ["ablate", "--plan", str(plan), "--out", str(out), "--device", "cpu"]
    assert main(command) == 2
    assert "mean/seed_1 holds a run already; give --resume" in capsys.readouterr().err
    assert main([*command, "--resume", "--steps", "7"]) == 2
    assert "was trained with another recipe" in capsys.readouterr().err


def test_sigterm_saves_the_present_run_and_starts_no_other(tmp_path: Path) -> None:
    plan, out = plan_file(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "crowdfm_core.pretraining", "ablate", "--device", "cpu"]
    command += ["--plan", str(plan), "--out", str(out), "--steps", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / BASE / "seed_1" / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "go on with --resume" in stderr
    assert load_checkpoint(out / BASE / "seed_1" / "checkpoint.pt").step >= 10
    assert stdout == ""
    assert [path.name for path in out.iterdir()] == [BASE]


def test_minutes_end_a_run_in_place_of_the_plans_steps(tmp_path: Path) -> None:
    plan = plan_file(tmp_path, training={"crowds_per_step": 2})
    minutes = 1e-6  # over after one step
    ablation = read_plan(plan, Budget(minutes=minutes)).only([BASE])
    assert ablation.base.training.steps == read_recipe(TINY).training.steps
    (result,) = run_ablation(ablation, tmp_path / "out", device=CPU)
    assert result.steps == 1
