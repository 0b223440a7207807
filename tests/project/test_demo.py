"""The demo lake holds what it promises."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pytest

from crowdfm_core.simulation.lake_rows import annotation_rows, gold_rows
from jobs.demo import demo_lake


@dataclass(frozen=True)
class DemoTables:
    annotations: pd.DataFrame
    gold_labels: pd.DataFrame


@pytest.fixture(scope="module")
def lake() -> DemoTables:
    drawn = demo_lake(seed=1)
    answers, gold = (
        pa.Table.from_batches([rows(drawn, piece) for piece in drawn.pieces()]).to_pandas()
        for rows in (annotation_rows, gold_rows)
    )
    return DemoTables(answers, gold)


def test_demo_lake_has_thirty_skewed_projects(lake: DemoTables) -> None:
    sizes = lake.annotations["project"].value_counts()
    assert len(sizes) == 30
    assert sizes.iloc[0] > 10_000
    assert sizes.iloc[-1] < 5


def test_demo_lake_has_one_to_two_percent_bad_rows(lake: DemoTables) -> None:
    rows = lake.annotations
    blank = rows[["task", "worker", "label"]].apply(lambda column: column.str.strip().eq(""))
    missing = rows[["task", "worker", "label"]].isna()
    undated = pd.to_datetime(rows["answered_at"], errors="coerce", format="%Y-%m-%dT%H:%M:%SZ")
    bad = (blank | missing).any(axis=1) | undated.isna()
    assert 0.01 < bad.mean() < 0.02


def test_demo_lake_repeats_answers_and_changes_some(lake: DemoTables) -> None:
    groups = lake.annotations.dropna().groupby(["project", "task", "worker"])["label"]
    repeated = groups.size() > 1
    changed = groups.nunique() > 1
    assert 1_000 < changed.sum() < repeated.sum()


def test_demo_lake_gold_is_of_tasks_and_labels_that_exist(lake: DemoTables) -> None:
    rows, gold = lake.annotations, lake.gold_labels
    assert set(gold["task"]) <= set(rows["task"])
    for project, labels in gold.groupby("project")["true_label"]:
        assert set(labels) <= set(rows.loc[rows["project"] == project, "label"])
