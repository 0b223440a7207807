"""The `crowdfm` command line: help, delegation, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crowdfm_core.errors import InputError, RunError, ScoringError, WeightsError
from jobs import nightly
from jobs.cli import main

COMMANDS = ("nightly", "score", "sql", "demo-lake", "simulate", "evaluate", "methods", "pretrain")


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f"  {name}" not in shown] == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from jobs.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'pyspark', 'torch', 'numba'} & set(sys.modules)\n"
        "print('loaded:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_help_exits_with_zero(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"crowdfm {command}" in capsys.readouterr().out


def test_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["hourly"])
    assert "nightly" in capsys.readouterr().err


def test_score_assigns_doubtful_tasks_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every worker answered t0 and one task more, which the two others have not seen."""
    answers = [f"{task},w{w},{'ab'[w % 2]}" for w in range(3) for task in ("t0", f"t{w + 1}")]
    file, out = tmp_path / "answers.csv", tmp_path / "out"
    file.write_text("\n".join(["task,worker,label", *answers]))
    command = ["score", str(file), "--out", str(out)]
    assert main([*command, "--assign", "2", "--max-probability", "1"]) == 0
    assert "assigned   3 tasks, 6 answers to ask for" in capsys.readouterr().out
    lines = (out / "assignments.csv").read_text().splitlines()
    assert lines[0] == "task_id,rank,worker_id,compatibility"
    assert len(lines) == 1 + 6
    for wrong, problem in (
        (["--assign", "0"], "expected 1 to 20, got 0"),
        (["--max-probability", "0.5"], "--max-probability is of --assign"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*command, *wrong])
        assert problem in capsys.readouterr().err


def test_error_of_the_user_is_one_message_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(tmp_path / "none.csv"), "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("crowdfm score: ")
    assert "none.csv" in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("input x: has no columns"), 2),
        (WeightsError("weights x: truncated"), 2),
        (RunError("output x: another writer"), 1),
        (ScoringError("components: a task in two"), 1),
    ],
)
def test_exit_code_is_2_only_for_what_is_refused_before_the_first_write(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    conf = tmp_path / "job.yaml"
    conf.write_text("input: {path: in}\noutput: {path: out}\n")
    monkeypatch.setattr(nightly, "run_nightly", fail)
    assert main(["nightly", "--conf", str(conf)]) == code
    assert capsys.readouterr().err == f"crowdfm nightly: {error}\n"


def test_java_that_does_not_start_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    conf = tmp_path / "job.yaml"
    conf.write_text("input: {path: in}\noutput: {path: out}\nspark: {master: 'local[1]'}\n")
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "nightly", "--conf", str(conf)],
        env={**os.environ, "JAVA_HOME": str(tmp_path / "none")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "expected Java 17 or newer, got one that does not start" in done.stderr
    assert "Traceback" not in done.stderr
