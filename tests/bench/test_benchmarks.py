"""The benchmarks' own correctness, at sizes that take no time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from crowdfm_core.models.attention import AttentionConfig, OutputBias
from tests.bench.__main__ import main
from tests.bench.crowds import Sizes, draw_crowd, several_projects
from tests.bench.direct_torch import DirectModel
from tests.bench.harness import Result, alternate
from tests.bench.kernel_benchmark import kernel_senti
from tests.bench.method_benchmarks import METHOD_BENCHMARKS, method_senti
from tests.bench.scorer_benchmarks import scaling, small_graphs, weights_senti
from tests.core.direct import direct_forward

SIZES = Sizes(annotations=600, workers=15, tasks=100, options=3)


def test_crowd_has_exactly_its_sizes_and_no_repeated_answer() -> None:
    crowd = draw_crowd(SIZES, seed=3)
    assert len(crowd.task) == SIZES.annotations
    assert set(crowd.task) == set(range(SIZES.tasks))
    assert set(crowd.worker) == set(range(SIZES.workers))
    assert len(set(zip(crowd.task, crowd.worker, strict=True))) == SIZES.annotations


def test_several_projects_share_no_task_and_no_worker() -> None:
    batch = several_projects([draw_crowd(SIZES, seed=seed) for seed in range(2)])
    project = batch.task_project[batch.task_index]
    assert set(batch.worker_index[project == 0]) == set(range(15))
    assert set(batch.worker_index[project == 1]) == set(range(15, 30))
    assert batch.num_workers == 30


@pytest.mark.parametrize("output_bias", get_args(OutputBias))
def test_direct_torch_model_equals_equations_written_out(output_bias: OutputBias) -> None:
    config = AttentionConfig(width=4, layers=2, heads=2, output_bias=output_bias)
    rng = np.random.default_rng(5)
    tensors = {name: rng.normal(0, 0.5, shape) for name, shape in config.tensor_shapes().items()}
    crowd, options = draw_crowd(SIZES, seed=5), rng.normal(size=(3, 4))
    sizes: Any = {"num_tasks": SIZES.tasks, "num_workers": SIZES.workers}
    index = (crowd.task, crowd.worker, crowd.option)
    expected, *_ = direct_forward(config, tensors, *index, options, **sizes)
    moved = [torch.as_tensor(array.astype(np.int64)) for array in index]
    task, worker, option = moved
    logits = DirectModel(config, tensors).logits(
        task, worker, option, torch.as_tensor(options), **sizes
    )
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(lambda: kernel_senti(SIZES, repeats=1), id="kernel_senti"),
        pytest.param(lambda: weights_senti("fast", SIZES, repeats=1), id="fast_senti"),
        pytest.param(lambda: small_graphs(3, repeats=1), id="small_graphs"),
        *(
            pytest.param(
                lambda name=name: method_senti(name.removesuffix("_senti"), SIZES, repeats=1),
                id=name,
            )
            for name in METHOD_BENCHMARKS
        ),
    ],
)
def test_benchmark_at_small_size_is_correct(result: Any, request: pytest.FixtureRequest) -> None:
    measured: Result = result()
    assert measured.benchmark in request.node.name
    assert measured.correct, measured.details
    assert measured.other is not None
    assert measured.ratio == pytest.approx(measured.other / measured.ours)


def test_scaling_draws_a_picture_and_fits_a_slope(tmp_path: Path) -> None:
    measured = scaling((500, 1_000, 4_000), plot=tmp_path / "scaling.png")
    assert measured.correct
    slope = np.diff(np.log(measured.details["seconds"][1:])) / np.log(4)
    assert measured.ours == pytest.approx(slope[0])
    assert (tmp_path / "scaling.png").stat().st_size > 1_000


def test_line_has_the_keys_that_readers_rely_on() -> None:
    line = Result("name", 0.123456, 1.0, 8.1, "seconds", True, {"count": 3}).line()
    values = json.loads(line)
    machine = values.pop("machine")
    assert {"processor", "threads", "loop_seconds", "python", "numpy"} <= set(machine)
    assert machine["loop_seconds"] > 0
    assert values == {
        "benchmark": "name",
        "ours": 0.1235,
        "other": 1.0,
        "ratio": 8.1,
        "unit": "seconds",
        "correct": True,
        "details": {"count": 3},
    }


def test_alternate_warms_up_and_takes_turns() -> None:
    calls: list[str] = []
    timed = alternate(lambda: calls.append("ours"), lambda: calls.append("other"), repeats=2)
    assert calls == ["ours", "other"] * 3
    assert timed.ratio == timed.other / timed.ours


def test_wrong_result_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Result("small_graphs", 1.0, 2.0, 2.0, "seconds", True)
    out = tmp_path / "lines.jsonl"
    for result, code in ((right, 0), (replace(right, correct=False), 1)):
        monkeypatch.setattr(
            "tests.bench.__main__._BENCHMARKS", {"small_graphs": lambda result=result: result}
        )
        assert main(["small_graphs", "--out", str(out)]) == code
        assert capsys.readouterr().out == out.read_text() == result.line() + "\n"


def test_unknown_benchmark_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["kernel"])
    assert "kernel_senti" in capsys.readouterr().err
