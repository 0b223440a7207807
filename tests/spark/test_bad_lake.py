"""Everything a lake should not hold, in one lake: each has its outcome, the rest is labelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from crowdfm_core import CrowdFM
from crowdfm_core.config import JobConfig, load_config
from jobs.run import run_nightly

GOOD = "good"
ODD_IDS = (
    "it's",
    'a "quoted" id',
    "`ticks`",
    "two\nlines",
    "x'; DROP TABLE annotations; --",
    "${spark.user} {annotations} :name",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}",
    "  padded ",
    "x" * 1023,
)
NUM_OPTIONS = 5_000


def row(project: Any, task: Any, worker: Any, label: Any) -> dict[str, Any]:
    return {"project": project, "task": task, "worker": worker, "label": label}


def good_rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, 60)
    return [
        row(GOOD, f"t{task:02}", f"w{worker}", f"o{truth[task] if right else rng.integers(0, 3)}")
        for task in range(60)
        for worker, right in zip(rng.choice(9, 5, replace=False), rng.random(5) < 0.6, strict=True)
    ]


def bad_rows() -> list[dict[str, Any]]:
    odd = [row(name, name, f"{name}{worker}", name) for name in ODD_IDS for worker in range(2)]
    long = "y" * 10_000
    unusable = [
        row(GOOD, None, "w0", "o1"),
        row(GOOD, "t00", "\t\n", "o1"),
        row(None, "t00", "w0", "o1"),
        row(GOOD, "t00", "w0", ""),
        row(GOOD, "t00", "w0", {"not": "a label"}) | {"label": None},
        row(GOOD, long, "w0", "o1"),
        row(long, long, long, long),
    ]
    mixed = [row("mixed", "t", f"w{n}", label) for n, label in enumerate((1, "1", 1.5, True))]
    many = [
        row("many-options", f"t{answer // 5}", f"w{answer % 5}", f"o{answer}")
        for answer in range(NUM_OPTIONS)
    ]
    small = [
        row("one-answer", "t", "w", "a"),
        *(row("one-task", "t", f"w{n}", "ab"[n > 1]) for n in range(3)),
        *(row("one-worker", f"t{n}", "w", "ab"[n > 1]) for n in range(3)),
        *(row("one-option", f"t{n % 2}", f"w{n // 2}", "a") for n in range(4)),
    ]
    return [*odd, *unusable, *mixed, *many, *small]


def job(folder: Path) -> JobConfig:
    (folder / "job.yaml").write_text(
        json.dumps(
            {
                "input": {
                    "path": str(folder / "in"),
                    "format": "json",
                    "columns": {"project_id": "project"},
                },
                "output": {"path": str(folder / "out")},
                "quality": False,
                "model": {"num_draws": 1},
                "spark": {"master": "local[2]"},
            }
        )
    )
    return load_config(folder / "job.yaml")


def write_lake(folder: Path, rows: list[dict[str, Any]], *broken: str) -> None:
    (folder / "in").mkdir(exist_ok=True)
    lines = [json.dumps(each) for each in rows] + list(broken)
    (folder / "in" / "answers.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night of good rows alone, then a night on which everything else came in."""
    folder = tmp_path_factory.mktemp("lake")
    write_lake(folder, good_rows())
    run_nightly(job(folder), run_id="first")
    write_lake(folder, good_rows() + bad_rows(), '{"project": "good", "task": "t00", "wor')
    run_nightly(job(folder), run_id="second")
    return folder


def read(spark: SparkSession, lake: Path, table: str) -> Any:
    return spark.read.format("delta").load(str(lake / "out" / table)).toPandas()


def test_every_unusable_row_is_quarantined_with_its_reasons(
    spark: SparkSession, lake: Path
) -> None:
    rejected = read(spark, lake, "rejected_annotations")
    found = sorted("+".join(reasons) for reasons in rejected["reasons"])
    too_long = "+".join(f"{name}_too_long" for name in ("project_id", "task_id", "worker_id"))
    assert found == sorted(
        [
            "missing_task_id",
            "missing_worker_id",
            "missing_project_id",
            "missing_label",
            "missing_label",
            "task_id_too_long",
            f"{too_long}+label_too_long",
            "malformed_row",
        ]
    )


def test_good_rows_are_labelled_as_the_core_does_and_stay_as_they_were(
    spark: SparkSession, lake: Path
) -> None:
    labels = read(spark, lake, "aggregated_labels")
    good = labels[(labels.project_id == GOOD) & (labels.method == "crowdfm")]
    model = CrowdFM(num_draws=1, project_id=GOOD)
    assert good.set_index("task_id")["label"].to_dict() == (
        model.fit_predict(pd.DataFrame(good_rows())).to_dict()
    )
    assert set(good["run_id"]) == {"first"}  # the bad night did not touch them


@pytest.mark.parametrize("method", ["crowdfm", "majority_vote"])
def test_odd_ids_come_out_as_they_went_in(spark: SparkSession, lake: Path, method: str) -> None:
    labels = read(spark, lake, "aggregated_labels")
    found = labels[labels.project_id.isin(ODD_IDS) & (labels.method == method)]
    assert sorted(found.project_id) == sorted(ODD_IDS)
    assert (found.task_id == found.project_id).all()
    assert (found.label == found.project_id).all()
    workers = read(spark, lake, "worker_scores")
    mine = workers[workers.project_id.isin(ODD_IDS) & (workers.method == method)]
    assert sorted(mine.worker_id) == sorted(f"{name}{n}" for name in ODD_IDS for n in range(2))


def test_smallest_projects_and_mixed_types_get_labels(spark: SparkSession, lake: Path) -> None:
    labels = read(spark, lake, "aggregated_labels")
    mine = labels[labels.method == "crowdfm"].set_index(["project_id", "task_id"])["label"]
    assert mine["one-answer"].to_dict() == {"t": "a"}
    assert set(mine["one-task"]) <= {"a", "b"}
    assert sorted(mine["one-worker"].index) == ["t0", "t1", "t2"]
    assert set(mine["one-option"]) == {"a"}
    votes = labels[labels.method == "majority_vote"].set_index("project_id")
    assert votes.loc["mixed", "label"] == "1"  # the number 1 and the text "1" are one option
    found = dict(votes.loc["mixed", "probabilities"])
    assert found == {"1": 0.5, "1.5": 0.25, "true": 0.25}


def test_thousands_of_options_are_labelled_with_the_answered_ones_listed(
    spark: SparkSession, lake: Path
) -> None:
    components = read(spark, lake, "components").set_index("project_id")
    assert components.loc["many-options", "num_options"] == NUM_OPTIONS
    labels = read(spark, lake, "aggregated_labels")
    mine = labels[(labels.project_id == "many-options") & (labels.method == "crowdfm")]
    assert len(mine) == NUM_OPTIONS // 5
    # Five answers a task: of so many options only those that somebody gave a task are listed.
    assert mine["probabilities"].map(len).max() == 5
    assert mine["probability"].between(0, 1).all()
