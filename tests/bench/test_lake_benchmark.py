"""The end-to-end benchmark: how processes are watched, and (slow) one run on a small lake."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from crowdfm_core.simulation.lake import LakeSizes
from tests.bench.lake_benchmark import LAKES, main
from tests.bench.process_tree import Sample, Watched, watch

NOTHING = {"java": 0, "python": 0}

# Holds 200 MB in a child for a while, and computes.
BUSY_CHILD = """
import subprocess, sys
child = "b = bytearray(b'1' * 200_000_000); sum(i * i for i in range(20_000_000)); print(len(b))"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout)
"""


def test_memory_and_time_of_children_are_counted(tmp_path: Path) -> None:
    run = watch([sys.executable, "-c", BUSY_CHILD], cwd=tmp_path)
    assert run.returncode == 0
    assert run.stdout.strip() == "200000000"
    peak = run.peak_memory_bytes()
    assert 200e6 < peak["python"] < 600e6
    assert peak["java"] == 0
    assert peak["together"] == peak["python"]
    assert 200e6 < peak["one_python"] <= peak["python"]
    used = run.cpu_seconds(run.samples[0].epoch_seconds, run.samples[-1].epoch_seconds)
    assert 0 < used["python"] <= run.seconds


def test_processor_time_between_two_moments_is_a_difference() -> None:
    samples = [
        Sample(float(second), NOTHING, NOTHING, {"java": 2.0 * second, "python": 1.0})
        for second in range(10)
    ]
    run = Watched(0, "", "", 10.0, samples)
    assert run.cpu_seconds(2, 5) == {"java": 6.0, "python": 0.0}
    assert run.cpu_seconds(50, 60) == {"java": 0.0, "python": 0.0}


def test_unknown_size_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["2m"])
    assert "senti" in capsys.readouterr().err


@pytest.mark.slow
def test_small_lake_is_measured_end_to_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(LAKES, "small", LakeSizes(5_000, 40))
    command = ["small", "--folder", str(tmp_path), "--driver-memory", "1g", "--second-night"]
    assert main(command) == 0
    measured, again = map(json.loads, capsys.readouterr().out.splitlines())
    assert (measured["benchmark"], again["benchmark"]) == ("lake_small", "lake_small_second_night")
    assert measured["correct"]
    assert again["correct"]
    assert 5_000 < again["details"]["annotations"] < 5_500
    assert measured["details"]["projects_changed"] is None
    assert 0 < again["details"]["projects_changed"] < 40
    details = measured["details"]
    assert details["annotations"] == 5_000
    assert set(details["phases"]) == set(details["phase_seconds"])
    assert sum(phase["tasks"] for phase in details["phases"].values()) > 10
    assert details["tasks"]["shuffle_bytes_written"] > 0
    assert details["peak_memory_bytes"]["java"] > 1e8
