"""`crowdfm methods`."""

from __future__ import annotations

import json

import pytest

from crowdfm_core.methods.command import main
from crowdfm_core.methods.registry import METHODS


def test_json_lists_every_method_with_paper_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["crowdfm", *METHODS]
    assert all(all(row.values()) for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert by_name["kos"] == {
        "name": "kos",
        "paper": "Karger, Oh and Shah, NIPS 2011",
        "probabilities": "none",
        "worker_score": "mean agreement with messages, on the real line",
        "gold": "ignored",
        "undefined_on": "projects with other than two options",
    }
    assert {row["name"] for row in rows if row["gold"] == "used"} == {
        name for name, method in METHODS.items() if method.uses_gold
    }


def test_text_names_every_method_and_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert [m for m in METHODS.values() if m.name not in shown or m.paper not in shown] == []
