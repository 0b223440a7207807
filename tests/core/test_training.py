"""The training command: resumable to the last bit, honest in its log, clear when it refuses."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from crowdfm_core import CrowdFM
from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.errors import ConfigError
from crowdfm_core.models.unrolled import UnrolledConfig
from crowdfm_core.pretraining.__main__ import main
from crowdfm_core.pretraining.objective import initial_weights, loss_of, outputs_of
from crowdfm_core.pretraining.optimisation import RunningAverage, learning_rate
from crowdfm_core.pretraining.packing import pack_crowds
from crowdfm_core.pretraining.recipe import Recipe, read_recipe
from crowdfm_core.pretraining.run_files import load_checkpoint, read_log
from crowdfm_core.pretraining.training import train
from crowdfm_core.pretraining.validation import draw_validation_crowds, validate
from crowdfm_core.weights import load_weights, shipped_weights_path

TINY = Path(__file__).parents[2] / "conf" / "pretraining" / "tiny.yaml"
CPU = torch.device("cpu")


def tiny(**training: Any) -> Recipe:
    recipe = read_recipe(TINY)
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **training))


def unrolled(recipe: Recipe) -> Recipe:
    # With the classical statistics it would start where 60 steps can teach it little.
    model = UnrolledConfig(width=8, layers=2, hidden=12, statistics=False)
    return dataclasses.replace(recipe, architecture="unrolled", model=model)


@pytest.fixture(scope="module", params=["attention", "unrolled"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One uninterrupted run of 60 steps."""
    out = tmp_path_factory.mktemp(request.param)
    recipe = tiny() if request.param == "attention" else unrolled(tiny())
    train(recipe, out, device=CPU)
    return out


def test_interrupted_run_goes_on_as_if_it_had_not_been(finished: Path, tmp_path: Path) -> None:
    whole = load_checkpoint(finished / "checkpoint.pt")
    train(whole.recipe, tmp_path, device=CPU, stop_after_steps=25)
    # A crash after the checkpoint leaves lines of steps that will be done again.
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 30, "seconds": 1.0, "loss": 99.0}\n{"step": 40, "sec')
    resumed = train(whole.recipe, tmp_path, device=CPU, resume=True)
    assert resumed.step == whole.step == 60
    for name, tensor in whole.average.items():
        torch.testing.assert_close(resumed.average[name], tensor, atol=1e-6, rtol=0)
    steps = [record["step"] for record in read_log(tmp_path / "log.jsonl") if "loss" in record]
    assert steps == [10, 20, 30, 40, 50, 60]
    assert all(record.get("loss", 0) < 99 for record in read_log(tmp_path / "log.jsonl"))


def test_run_starts_from_the_averaged_weights_of_another(finished: Path, tmp_path: Path) -> None:
    origin = load_checkpoint(finished / "checkpoint.pt")
    still: dict[str, Any] = {"learning_rate": 1e-9, "final_learning_rate": 1e-9, "steps": 2}
    slow = dataclasses.replace(
        origin.recipe,
        name="more",
        training=dataclasses.replace(origin.recipe.training, **still),
    )
    state = train(slow, tmp_path, device=CPU, start_from=finished)
    for name, tensor in origin.average.items():
        torch.testing.assert_close(state.weights[name].detach(), tensor, atol=1e-6, rtol=0)
    assert load_checkpoint(tmp_path / "checkpoint.pt").account()["started_from"] == origin.account()
    other = tiny() if origin.recipe.architecture == "unrolled" else unrolled(tiny())
    with pytest.raises(ConfigError, match=r"model: expected .*, got "):
        train(other, tmp_path / "b", device=CPU, start_from=finished)


def test_run_starts_from_frozen_weights_and_names_them(tmp_path: Path) -> None:
    attention = shipped_weights_path("attention")
    still = tiny(learning_rate=1e-9, final_learning_rate=1e-9, steps=1, crowds_per_step=1)
    recipe = dataclasses.replace(still, model=load_weights(attention).config)
    state = train(recipe, tmp_path / "a", device=CPU, start_from=attention)
    for name, tensor in load_weights(attention).tensors.items():
        np.testing.assert_allclose(state.weights[name].detach().numpy(), tensor, atol=1e-6)
    assert state.origin is not None
    assert state.origin["weights_sha256"] == load_weights(attention).sha256
    with pytest.raises(ConfigError, match=r"expected .*, got "):
        train(tiny(), tmp_path / "b", device=CPU, start_from=attention)


def test_run_with_more_layers_starts_from_copies_of_the_last(tmp_path: Path) -> None:
    weights = load_weights()
    assert isinstance(weights.config, UnrolledConfig)
    layers = weights.config.layers
    for number in (layers - 2, layers + 2):
        still = unrolled(tiny(learning_rate=1e-9, final_learning_rate=1e-9, steps=1))
        model = dataclasses.replace(weights.config, layers=number)
        recipe = dataclasses.replace(still, model=model)
        out = tmp_path / str(number)
        state = train(recipe, out, device=CPU, start_from=shipped_weights_path())
        for name, tensor in weights.tensors.items():
            found = state.weights[name].detach().numpy()
            both = min(len(found), len(tensor))
            np.testing.assert_allclose(found[:both], tensor[:both], atol=1e-6)
            if name == "trust":
                np.testing.assert_allclose(found[both:], tensor[[-1] * (number - both)], atol=1e-6)


def test_training_learns_and_its_log_says_so(finished: Path) -> None:
    recipe = load_checkpoint(finished / "checkpoint.pt").recipe
    untrained = initial_weights(recipe, CPU)
    before = validate(recipe, untrained, draw_validation_crowds(recipe), TorchOps())
    log = read_log(finished / "log.jsonl")
    validation = [record for record in log if "validation_accuracy" in record][-1]
    assert validation["validation_loss"] < before.loss - 0.1
    assert validation["validation_accuracy"] > 0.5
    assert validation["validation_majority_vote_accuracy"] > 0.5


def test_export_is_loaded_and_labels(finished: Path, tmp_path: Path) -> None:
    command = ["export", "--run", str(finished), "--out", str(tmp_path), "--head-crowds", "16"]
    assert main([*command, "--device", "cpu"]) == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    state = load_checkpoint(finished / "checkpoint.pt")
    assert manifest["architecture"] == state.recipe.architecture
    account = manifest["recipe"]
    assert account["steps"] == 60
    assert account["seed"] == 1
    assert account["training_seconds"] > 0
    assert {"commit", "settings", "validation"} <= set(account)
    assert set(account["heads"]["ability"]) >= {"pearson", "spearman", "mean_squared_error"}
    assert ("compatibility" in account["heads"]) == (state.recipe.architecture == "unrolled")
    frame = pd.DataFrame({"task": [1, 1, 1], "worker": [1, 2, 3], "label": ["a", "a", "b"]})
    assert CrowdFM(tmp_path).fit_predict(frame).to_dict() == {1: "a"}


def test_export_blends_with_the_weights_that_a_run_started_from(tmp_path: Path) -> None:
    weights = load_weights()
    recipe = dataclasses.replace(unrolled(tiny(steps=1)), model=weights.config)
    state = train(recipe, tmp_path / "run", device=CPU, start_from=shipped_weights_path())
    command = ["export", "--run", str(tmp_path / "run"), "--head-crowds", "8", "--device", "cpu"]
    blend = ["--blend-with", str(shipped_weights_path()), "--share", "0.25"]
    assert main([*command, "--out", str(tmp_path / "out"), *blend]) == 0
    blended = load_weights(tmp_path / "out")
    for name, tensor in weights.tensors.items():
        expected = 0.75 * tensor + 0.25 * state.average[name].detach().numpy()
        np.testing.assert_allclose(blended.tensors[name], expected, atol=1e-6)
    assert np.abs(blended.tensors["output.weight"] - weights.tensors["output.weight"]).max() > 1e-6
    assert blended.recipe["blended"] == {"share": 0.25, "weights_sha256": weights.sha256}
    assert main([*command, "--out", str(tmp_path / "none"), "--share", "0"]) == 2
    assert not (tmp_path / "none").exists()


def test_plot_writes_a_picture(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "log.png"
    assert main(["plot", "--run", str(finished), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_sigterm_saves_and_pauses(tmp_path: Path) -> None:
    """As a cluster's scheduler ends a job; the run goes on from where it was."""
    recipe = tmp_path / "endless.yaml"
    recipe.write_text(TINY.read_text().replace("steps: 60", "steps: 100000"))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "crowdfm_core.pretraining", "train", "--device", "cpu"]
    command += ["--recipe", str(recipe), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "go on with --resume" in stderr
    assert load_checkpoint(out / "checkpoint.pt").step >= 10


def test_refusals_name_what_to_do_and_change_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "checkpoint.pt").read_bytes()
    other = tmp_path / "other.yaml"
    other.write_text(TINY.read_text().replace("seed: 1", "seed: 2"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "checkpoint.pt").write_bytes(before[: len(before) // 2])
    cases = [
        (["--recipe", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "a")], "none.yaml"),
        (["--recipe", str(TINY), "--out", str(finished)], "holds a run already; give --resume"),
        (["--recipe", str(other), "--out", str(finished), "--resume"], "another recipe"),
        (["--recipe", str(TINY), "--out", str(broken), "--resume"], "cannot be read as a check"),
        (["--recipe", str(TINY), "--out", str(tmp_path / "b"), "--resume"], "no checkpoint at"),
    ]
    for arguments, message in cases:
        assert main(["train", "--device", "cpu", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert (finished / "checkpoint.pt").read_bytes() == before


def test_loss_is_the_mean_of_each_crowds_cross_entropy() -> None:
    recipe = tiny()
    rng = np.random.default_rng(4)
    crowds = [recipe.generator().sample(rng) for _ in range(2)]
    packed = pack_crowds(crowds, rng, model=recipe.model)
    weights = initial_weights(recipe, CPU)
    logits = outputs_of(recipe, weights, packed, TorchOps()).logits[-1].detach()
    expected, first = [], 0
    for crowd in crowds:
        size = crowd.num_tasks * crowd.num_options
        block = logits[first : first + size].reshape(crowd.num_tasks, crowd.num_options)
        truth = torch.as_tensor(crowd.true_option, dtype=torch.int64)
        expected.append(float(torch.nn.functional.cross_entropy(block, truth)))
        first += size
    assert float(loss_of(logits, packed)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_learning_rate_warms_up_and_falls_to_its_end() -> None:
    settings = tiny(learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10).training
    assert learning_rate(settings, step=0, progress=0.0) == pytest.approx(0.1)
    assert learning_rate(settings, step=9, progress=0.0) == pytest.approx(1.0)
    assert learning_rate(settings, step=500, progress=0.5) == pytest.approx(0.55)
    assert learning_rate(settings, step=999, progress=1.0) == pytest.approx(0.1)


def test_running_average_forgets_the_start_and_follows_its_decay() -> None:
    average = RunningAverage({"x": torch.zeros(1)}, decay=0.5)
    average.update({"x": torch.ones(1)}, step=0)
    assert float(average.weights["x"]) == pytest.approx(0.9)  # decay of 1 / 10 at the first step
    average.update({"x": torch.zeros(1)}, step=1000)
    assert float(average.weights["x"]) == pytest.approx(0.45)
