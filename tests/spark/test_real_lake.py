"""A lake of real data sets: the tables say what the core says on the same files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pyspark.sql import SparkSession

from crowdfm_core import CrowdFM
from crowdfm_core.config import load_config
from jobs.run import run_nightly


def read_set(folder: Path, file: str) -> pd.DataFrame:
    columns = {"label.csv": ["task", "worker", "label"], "truth.csv": ["task", "true_label"]}[file]
    return pd.read_csv(folder / file, dtype=str, header=0, names=columns, keep_default_na=False)


def accuracy(labels: pd.Series[Any], truth: pd.DataFrame) -> float:
    known = truth[truth["task"].isin(labels.index)]
    agrees = labels.loc[known["task"]].to_numpy() == known["true_label"].to_numpy()
    return 100 * float(agrees.mean())


def test_accuracy_of_every_project_equals_the_cores(
    spark: SparkSession, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = {path.parent.name: path.parent for path in sorted(data_dir.glob("*/label.csv"))}
    (tmp_path / "in").mkdir()
    for name, folder in sets.items():
        rows = read_set(folder, "label.csv").assign(project=name)
        rows.to_csv(tmp_path / "in" / f"{name}.csv", index=False)
    settings = {
        "input": {
            "path": str(tmp_path / "in"),
            "format": "csv",
            "columns": {"project_id": "project"},
        },
        "output": {"path": str(tmp_path / "out")},
        "spark": {"master": "local[2]"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(settings))
    run_nightly(load_config(tmp_path / "job.yaml"))
    table = spark.read.format("delta").load(str(tmp_path / "out" / "aggregated_labels")).toPandas()
    lines = []
    for name, folder in sets.items():
        rows = read_set(folder, "label.csv")
        # The rule of the job for answers without a time: of one pair, the smallest label counts.
        rows = rows.sort_values("label").drop_duplicates(["task", "worker"])
        core = CrowdFM(project_id=name).fit_predict(rows)
        truth = read_set(folder, "truth.csv")
        mine = table[table["project_id"] == name].set_index(["method", "task_id"])["label"]
        assert mine["crowdfm"].to_dict() == core.to_dict(), name
        measured = accuracy(mine["crowdfm"], truth)
        assert measured == accuracy(core, truth)
        votes = accuracy(mine["majority_vote"], truth)
        lines.append(f"{name:8} crowdfm {measured:6.2f}  majority_vote {votes:6.2f}")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
