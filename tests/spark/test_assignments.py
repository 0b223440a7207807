"""Doubtful tasks are assigned to workers: the table, what it is made of, what a night changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from crowdfm_core.config import JobConfig
from crowdfm_core.errors import ConfigError
from jobs.run import run_nightly
from jobs.steps.gold import GOLD_SCHEMA
from jobs.steps.outputs import assignments_from_scores
from tests.spark.delta_tables import INPUT, assigned, config_of, table
from udfs.batch_tables import SCORE_SCHEMA

RULE = {"workers_per_task": 2, "max_probability": 0.9}
# Workers a to e agree, but for e; two answers to t0 contradict each other, nobody else has seen it.
ANSWERS = [
    *(
        (f"t{t}", worker, "no" if worker == "e" else "yes")
        for t in range(1, 9)
        for worker in "abcde"
    ),
    ("t0", "a", "yes"),
    ("t0", "b", "no"),
]


def test_rows_follow_the_ranks_of_the_scores(spark: SparkSession) -> None:
    nothing = dict.fromkeys(spark.createDataFrame([], SCORE_SCHEMA).columns)
    rows = [
        # Ranked two, ranked one, not doubtful, and a worker.
        nothing | {"project_id": "p", "task_id": "t1", "assigned": [("w2", 0.75), ("w1", 0.5)]},
        nothing | {"project_id": "q", "task_id": "t1", "assigned": [("w1", 0.25)]},
        nothing | {"project_id": "p", "task_id": "t2", "assigned": []},
        nothing | {"project_id": "p", "worker_id": "w1"},
    ]
    # The truth of q's other task is known; p's task of that name is another one.
    rows.append(nothing | {"project_id": "q", "task_id": "t2", "assigned": [("w1", 0.5)]})
    gold = spark.createDataFrame([("q", "t2", "yes", True)], GOLD_SCHEMA)
    scores = spark.createDataFrame([tuple(row.values()) for row in rows], SCORE_SCHEMA)
    expected = spark.createDataFrame(
        [("p", "t1", 1, "w2", 0.75), ("p", "t1", 2, "w1", 0.5), ("q", "t1", 1, "w1", 0.25)],
        "project_id string, task_id string, rank int, worker_id string, compatibility double",
    )
    found = assignments_from_scores(scores, gold)
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def write_lake(spark: SparkSession, lake: Path, answers: dict[str, list[Any]]) -> None:
    rows = [(project, *answer) for project, own in answers.items() for answer in own]
    frame = spark.createDataFrame(rows, INPUT)
    frame.write.format("delta").mode("overwrite").save(str(lake / "in"))


def config(lake: Path, **changes: Any) -> JobConfig:
    settings = {
        "input": {"path": str(lake / "in"), "columns": {"project_id": "project"}},
        "output": {"path": str(lake / "out")},
        "methods": ["crowdfm"],
        "quality": False,
        "assignments": RULE,
        "spark": {"master": "local[2]"},
        **changes,
    }
    return config_of(lake, settings)


def test_a_night_assigns_doubtful_tasks(spark: SparkSession, tmp_path: Path) -> None:
    """Of t0, which a and b answered, c and d may decide; e, who is wrong elsewhere, is not asked.

    Without the rule nothing is computed again, and the table is no longer published.
    """
    write_lake(spark, tmp_path, {"p": ANSWERS, "q": ANSWERS})
    summary = run_nightly(config(tmp_path), run_id="one")
    assert summary.counts()["assigned_tasks"] == 2
    assert "          2  doubtful tasks assigned to workers\n" in summary.to_text()
    assert table(spark, tmp_path, "aggregated_labels").where("probability <= 0.9").count() == 2
    asked = {"c": "one", "d": "one"}
    assert assigned(spark, tmp_path) == {("p", "t0"): asked, ("q", "t0"): asked}

    assert run_nightly(config(tmp_path, assignments=None), run_id="two").projects_changed == 0
    published = {
        row["run_id"]: "assignments" in row["output_versions"]
        for row in table(spark, tmp_path, "runs").collect()
    }
    assert published == {"one": True, "two": False}


def test_weights_that_cannot_assign_are_refused_before_anything_is_written(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_lake(spark, tmp_path, {"p": ANSWERS})
    with pytest.raises(ConfigError, match=r"assignments: expected weights .* 'attention'"):
        run_nightly(config(tmp_path, model={"weights": "attention"}))
    assert not (tmp_path / "out").exists()
