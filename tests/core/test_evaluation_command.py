"""The evaluation command, from files to its report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from crowdfm_core.errors import ConfigError, WeightsError
from crowdfm_core.evaluation import (
    classical,
    evaluate,
    frozen,
    measure,
    read_dataset,
)
from crowdfm_core.evaluation.command import main
from crowdfm_core.evaluation.contenders import read_weights, weights_name
from crowdfm_core.evaluation.published import read_published_table
from crowdfm_core.evaluation.report import markdown_report
from crowdfm_core.evaluation.summary import summarise
from crowdfm_core.methods.registry import METHODS
from crowdfm_core.weights import shipped_weights_path
from tests.core.test_evaluation import dataset_of
from tests.core.test_evaluation_datasets import write


def test_command_reports_bad_sets_and_measures_the_good_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue 4's bad input, side by side in one folder."""
    data = tmp_path / "data"
    dataset_of(data, "good")
    write(data / "foreign", truths=["t1,zzz", "t2,b", "t77,a"])
    write(data / "single", ["t1,w1,a", "t2,w2,a"], ["t1,a"])
    write(data / "words", ["t1,w1,yes", "t2,w2,no"], ["t1,yes", "t2,yes"])
    write(data / "untrue")
    (data / "untrue" / "truth.csv").unlink()
    write(data / "unreadable")
    (data / "unreadable" / "label.csv").write_bytes(b"\xff\xfe\x00")
    out, picture = tmp_path / "out.jsonl", tmp_path / "plot.png"
    code = main([str(data), "--num-seeds", "2", "--json", str(out), "--plot", str(picture)])
    shown = capsys.readouterr()
    assert code == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    keys = {(row["dataset"], row["method"]) for row in rows}
    names = {*(m.name for m in METHODS.values() if not m.undefined_on), "crowdfm"}
    assert len(keys) == len(rows) == 6 * len(names)
    unmeasured = {row["dataset"] for row in rows if row["accuracy"] is None}
    assert unmeasured == {"untrue", "unreadable"}
    single = {row["accuracy"] for row in rows if row["dataset"] == "single"}
    assert single == {100.0}
    assert all(0 <= row["accuracy"] <= 100 for row in rows if row["accuracy"] is not None)
    for said in ("foreign: 1 gold tasks", "foreign: 1 tasks have a truth", "single: a single"):
        assert said in shown.out
    assert "words: 2 of 2 options are not whole numbers" in shown.out
    assert "not measured: untrue: " in shown.err
    assert "not measured: unreadable: " in shown.err
    assert picture.stat().st_size > 10_000


def test_command_prints_json_alone_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset_of(tmp_path, "a")
    named = f"mine={shipped_weights_path()}"
    argv = [str(tmp_path), "--methods", "glad", "--weights", named, "--json", "-"]
    assert main([*argv, "--num-seeds", "1"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["method"] for row in rows] == ["majority_vote", "glad", "mine"]


def test_command_fails_when_nothing_can_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a", truths=[])
    assert main([str(tmp_path), "--methods", "majority_vote"]) == 2
    assert "No data set was measured by every method." in capsys.readouterr().out


def test_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    write(tmp_path / "a")
    with pytest.raises(ConfigError, match="method 'mv': expected one of majority_vote, "):
        main([str(tmp_path), "--methods", "mv"])
    twice = ["--weights", "default", "--weights", "default"]
    with pytest.raises(ConfigError, match="several are called crowdfm; give weights a name"):
        main([str(tmp_path), "--methods", "crowdfm", *twice])
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--num-seeds", "0"])


@pytest.mark.parametrize(
    ("given", "name", "path"),
    [
        ("default", "crowdfm", "default"),
        (str(shipped_weights_path()), "crowdfm", str(shipped_weights_path())),
        ("runs/large", "large", "runs/large"),
        ("a/published.pt", "published", "a/published.pt"),
        ("best=a/published.pt", "best", "a/published.pt"),
    ],
)
def test_weights_are_named_after_their_file(given: str, name: str, path: str) -> None:
    assert weights_name(given) == (name, path)


def test_published_checkpoints_need_torch_and_their_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="published checkpoints are torch files")
    file = tmp_path / "w.pt"
    file.write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match="torch cannot read it as a checkpoint"):
        read_weights(str(file))
    torch.save({"encoder.x_worker": torch.zeros(3)}, file)
    with pytest.raises(WeightsError, match="expected the published layout"):
        read_weights(str(file))
    torch.save([1, 2], file)
    with pytest.raises(WeightsError, match="expected a table of tensors by name"):
        read_weights(str(file))
    monkeypatch.delitem(sys.modules, "crowdfm_core.backends.torch_checkpoint")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match="is read with torch; install the project with"):
        read_weights(str(file))


def test_significance_says_which_extra_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = evaluate([dataset_of(tmp_path)], [classical("majority_vote"), classical("glad")])
    assert "needs scipy" not in markdown_report(done)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    assert all(summary.p_value is None for summary in summarise(done))
    assert "p needs scipy; install the project with its extra" in markdown_report(done)


def test_published_weights_reach_the_published_accuracies(
    reference_dir: Path, data_dir: Path
) -> None:
    """Within a point of Table 3 on the mean: five seeds there, one here, other option vectors."""
    published = read_published_table(reference_dir / "paper_table3_accuracy.csv")
    contender = frozen("p", read_weights(str(reference_dir / "published_checkpoint.pt")))
    names = ("CF", "Dog", "MS", "RTE")
    means = [
        100 * measure(read_dataset(data_dir / name), contender, num_seeds=1).accuracy
        for name in names
    ]
    assert np.mean(means) == pytest.approx(published.mean("CrowdFM", names), abs=1.0)
