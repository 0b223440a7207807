"""Quality tables and gold in whole runs: what lands, and what a second run adds."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from crowdfm_core.config import JobConfig
from jobs.run import run_nightly
from tests.spark.delta_tables import config_of, table

PROJECTS = ("p", "q")
HISTORIES = ("project_quality", "method_quality")
GOLD = "project,task,true_label\np,t0,1\np,t1,1\nq,t2,1\nq,,1\nq,t3,1\nq,t3,2\n"


def answers() -> str:
    """Two projects of 12 tasks, 4 workers: w3 always says 1, the others the truth, task mod 3."""
    rows = ["project,task,worker,label,at"]
    for project in PROJECTS:
        for task in range(12):
            for worker in range(4):
                label = 1 if worker == 3 else task % 3
                time = f"2026-01-01T00:00:{task + 10 * worker:02}Z"
                rows.append(f"{project},t{task},w{worker},{label},{time}")
    return "\n".join(rows)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.csv").write_text(answers())
    (tmp_path / "gold.csv").write_text(GOLD)
    return tmp_path


def config(lake: Path) -> JobConfig:
    settings = {
        "input": {
            "path": str(lake / "in"),
            "format": "csv",
            "columns": {"project_id": "project", "annotated_at": "at"},
        },
        "gold": {
            "path": str(lake / "gold.csv"),
            "format": "csv",
            "columns": {"project_id": "project"},
        },
        "output": {"path": str(lake / "out")},
        "methods": ["majority_vote", "gold_majority_vote"],
        "spark": {"master": "local[2]"},
    }
    return config_of(lake, settings)


def content(rows: DataFrame) -> list[str]:
    return sorted(map(str, rows.collect()))


def test_runs_write_quality_and_keep_its_history(spark: SparkSession, lake: Path) -> None:
    summary = run_nightly(config(lake), run_id="one")
    assert (summary.gold_labels, summary.gold_rows_rejected) == (3, 3)
    reasons = [row["reasons"] for row in table(spark, lake, "rejected_gold_labels").collect()]
    assert sorted(reasons) == [["conflicting_true_labels"]] * 2 + [["missing_task_id"]]

    quality = {row["project_id"]: row for row in table(spark, lake, "project_quality").collect()}
    # t0 and t1 have the labels 0 and 1, and both are said to be 1.
    assert (quality["p"]["num_gold"], quality["p"]["accuracy"]) == (2, 0.5)
    assert (quality["q"]["num_gold"], quality["q"]["accuracy"]) == (1, 0.0)
    assert quality["p"]["label_shares"] == pytest.approx({"0": 1 / 3, "1": 1 / 3, "2": 1 / 3})
    assert quality["p"]["num_worker_pairs"] == 6
    workers = table(spark, lake, "worker_quality").where("project_id = 'p'").collect()
    flags = {row["worker_id"]: (row["spam_score"], row["is_constant_suspect"]) for row in workers}
    assert flags == {**{f"w{n}": (1.0, False) for n in range(3)}, "w3": (0.0, True)}
    assert {row["median_seconds"] for row in workers} == {1.0}
    voted = "project_id = 'p' AND method = 'majority_vote'"
    scores = table(spark, lake, "worker_scores").where(voted).collect()
    assert {row["worker_id"]: row["spam_score"] for row in scores} == {
        worker: score for worker, (score, _) in flags.items()
    }
    # w3 alone was right on both gold tasks, the others on one; their labels are not judged by them.
    with_gold = "project_id = 'p' AND method = 'gold_majority_vote'"
    told = table(spark, lake, "worker_scores").where(with_gold).collect()
    assert {row["worker_id"]: row["score"] for row in told} == {
        "w0": 0.5,
        "w1": 0.5,
        "w2": 0.5,
        "w3": 1,
    }
    judged = table(spark, lake, "method_quality").where("project_id = 'p'").collect()
    assert {row["method"]: (row["num_gold"], row["accuracy"]) for row in judged} == {
        "majority_vote": (2, 0.5),
        "gold_majority_vote": (0, None),
    }
    cuts = {
        row["threshold"]: (row["num_tasks"], row["num_gold"], row["accuracy"])
        for row in table(spark, lake, "label_thresholds").where(voted).collect()
    }
    # Labels other than 1 have three votes of four.
    assert (cuts[0.7], cuts[0.8]) == ((12, 2, 0.5), (4, 1, 1.0))

    before = {name: content(table(spark, lake, name)) for name in summary.tables}
    second = run_nightly(config(lake), run_id="two")  # no project has changed
    assert (second.projects, second.projects_changed, second.kept_run_id) == (2, 0, "one")
    assert second.labelled == summary.labelled
    assert second.versions.keys() == summary.versions.keys()
    moved = {name for name, at in second.versions.items() if at != summary.versions[name]}
    assert moved == {*HISTORIES, "rejected_gold_labels"}  # no annotation was rejected
    for name in second.versions.keys() - moved:
        assert content(table(spark, lake, name)) == before[name], name
    for name in HISTORIES:
        rows = table(spark, lake, name).drop("updated_at", "previous_run_id", "label_drift")
        of_one, of_two = (
            content(rows.where(rows.run_id == run_id).drop("run_id")) for run_id in ("one", "two")
        )
        assert of_two == of_one, name
    runs = table(spark, lake, "project_quality").where("project_id = 'p'").collect()
    drift = {row["run_id"]: (row["previous_run_id"], row["label_drift"]) for row in runs}
    assert drift == {"one": (None, None), "two": ("one", pytest.approx(0.0))}
    kept = {row["run_id"]: row["kept_run_id"] for row in table(spark, lake, "runs").collect()}
    assert kept == {"one": None, "two": "one"}
