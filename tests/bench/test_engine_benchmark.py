"""The benchmark of Dawid-Skene's engines: who is compared, and (slow) one run on a small lake."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.bench.engine_benchmark import _share_of_equal_labels, main


def test_labels_that_differ_or_are_missing_are_counted(tmp_path: Path) -> None:
    one = {"project": list("ppqq"), "task": list("1212"), "label": list("abab")}
    other = {"project": list("pqq"), "task": list("121"), "label": list("abb")}
    parquet.write_table(pa.table(one), tmp_path / "one")
    parquet.write_table(pa.table(other), tmp_path / "other")
    # Equal for p 1 and q 2; q 1 differs, p 2 is missing.
    assert _share_of_equal_labels(tmp_path / "one", tmp_path / "other") == 0.5
    assert _share_of_equal_labels(tmp_path / "one", tmp_path / "one") == 1.0


def test_unknown_engine_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--engines", "hive"])
    assert "crowd-kit" in capsys.readouterr().err


@pytest.mark.slow
def test_engines_agree_on_a_small_lake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--annotations", "5000", "--projects", "5", "--driver-memory", "1g"]
    assert main([*arguments, "--folder", str(tmp_path)]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["correct"]
    assert set(measured["details"]["labels_equal_to_the_first"]) == {"arrays", "sql", "crowd-kit"}
    assert measured["details"]["engines"]["sql"]["peak_memory_bytes"]["java"] > 1e8
