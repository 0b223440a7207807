"""Nights that compute only what changed write what a night of everything writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.run import run_nightly
from jobs.steps.methods import Methods
from jobs.summary import RunSummary
from tests.spark.delta_tables import assigned, config_of, create_input, insert


def answers(project: str, **changed: str) -> list[tuple[str | None, ...]]:
    """Eight tasks by four workers, who mostly say the task's number mod 2; w3 always 1.

    Of t7 there are but two answers, which contradict each other: w2 and w3 may decide it.
    """
    said = {f"t{task}w{worker}": str(task % 2) for task in range(8) for worker in range(3)}
    said |= {f"t{task}w3": "1" for task in range(7)} | {"t7w1": "0"}
    del said["t7w2"]
    return [(project, key[:2], key[2:], label) for key, label in (said | changed).items()]


GOLD = ["same,t0,0", "known,t0,0", "known,t1,1"]


def write_gold(lake: Path, gold: list[str]) -> None:
    (lake / "gold.csv").write_text("\n".join(["project,task,true_label", *gold]))


def night(lake: Path, out: str, run_id: str, **settings: Any) -> RunSummary:
    conf = {
        "input": {"path": str(lake / "in"), "columns": {"project_id": "project"}},
        "gold": {
            "path": str(lake / "gold.csv"),
            "format": "csv",
            "columns": {"project_id": "project"},
        },
        "output": {"path": str(lake / out)},
        "methods": ["crowdfm", "dawid_skene"],
        "assignments": {"workers_per_task": 2, "max_probability": 0.9},
        "spark": {"master": "local[2]"},
        **settings,
    }
    return run_nightly(config_of(lake, conf), run_id=run_id)


def content(spark: SparkSession, folder: Path) -> dict[str, list[str]]:
    """Rows of every table but `runs`, without times."""
    tables = {path.name: spark.read.format("delta").load(str(path)) for path in folder.iterdir()}
    return {
        name: sorted(str(row) for row in rows.drop("updated_at", "ingested_at").collect())
        for name, rows in tables.items()
        if name != "runs"
    }


def test_night_of_changes_writes_what_a_night_of_everything_writes(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    create_input(spark, tmp_path)
    for project in ("same", "changed", "gone", "known"):
        insert(spark, tmp_path, answers(project))
    write_gold(tmp_path, GOLD)
    first = night(tmp_path, "out", "one")
    assert first.projects_changed is None
    asked = {(project, "t7"): {"w2", "w3"} for project in ("same", "changed", "gone", "known")}
    assert {key: set(of) for key, of in assigned(spark, tmp_path).items()} == asked
    shutil.copytree(tmp_path / "out", tmp_path / "whole")

    spark.sql(f"DELETE FROM delta.`{tmp_path}/in` WHERE project IN ('changed', 'gone')")
    # t7 is no longer doubtful there, though w3 could still be asked.
    insert(spark, tmp_path, answers("changed", t0w1="1", t1w0="x", t7w1="1", t7w2="1"))
    insert(spark, tmp_path, [*answers("new"), ("same", "t0", None, "1")])
    write_gold(tmp_path, [*GOLD[:2], "known,t2,0"])
    given: list[str] = []
    of_methods = Methods.__init__

    def noted(self: Methods, annotations: DataFrame, *rest: Any) -> None:
        given.extend(row[0] for row in annotations.select("project_id").distinct().collect())
        of_methods(self, annotations, *rest)

    caplog.set_level("INFO", logger="jobs")
    with monkeypatch.context() as patch:
        patch.setattr(Methods, "__init__", noted)
        second = night(tmp_path, "out", "two")
    found = "projects of the input are compared, which changed since run one"
    assert f"run two: 3 {found}" in caplog.text
    assert sorted(given) == ["changed", "known", "new"]
    assert (second.projects, second.projects_changed, second.kept_run_id) == (4, 4, "one")
    assert second.assigned_tasks == 3
    by_run = {(key[0], *of.values()) for key, of in assigned(spark, tmp_path).items()}
    assert by_run == {("same", "one", "one"), ("known", "one", "one"), ("new", "two", "two")}
    whole = night(tmp_path, "whole", "two", recompute="all")
    assert whole.projects_changed is None
    assert content(spark, tmp_path / "out") == content(spark, tmp_path / "whole")
    for name in (
        "annotations",
        "rows_superseded",
        "tasks",
        "components",
        "labelled",
        "ties",
        "problems",
        "assigned_tasks",
    ):
        assert getattr(second, name) == getattr(whole, name), name
