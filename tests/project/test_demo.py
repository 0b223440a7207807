"""The demo lake holds what it promises."""

from __future__ import annotations

import pandas as pd
import pytest

from jobs.demo import DemoLake, demo_lake


@pytest.fixture(scope="module")
def lake() -> DemoLake:
    return demo_lake(seed=1)


def test_demo_lake_of_equal_seeds_is_equal(lake: DemoLake) -> None:
    again = demo_lake(seed=1)
    pd.testing.assert_frame_equal(lake.annotations, again.annotations)
    pd.testing.assert_frame_equal(lake.gold_labels, again.gold_labels)
    assert not lake.annotations.equals(demo_lake(seed=2).annotations)


def test_demo_lake_has_thirty_skewed_projects(lake: DemoLake) -> None:
    sizes = lake.annotations["project"].value_counts()
    assert len(sizes) == 30
    assert sizes.iloc[0] > 10_000
    assert sizes.iloc[-1] < 5


def test_demo_lake_has_one_to_two_percent_bad_rows(lake: DemoLake) -> None:
    rows = lake.annotations
    blank = rows[["task", "worker", "label"]].apply(lambda column: column.str.strip().eq(""))
    missing = rows[["task", "worker", "label"]].isna()
    undated = pd.to_datetime(rows["answered_at"], errors="coerce", format="%Y-%m-%dT%H:%M:%SZ")
    bad = (blank | missing).any(axis=1) | undated.isna()
    assert bad.sum() == lake.num_bad_rows
    assert 0.01 < bad.mean() < 0.02


def test_demo_lake_repeats_answers_and_changes_some(lake: DemoLake) -> None:
    groups = lake.annotations.dropna().groupby(["project", "task", "worker"])["label"]
    repeated = groups.size() > 1
    changed = groups.nunique() > 1
    assert 1_000 < changed.sum() < repeated.sum()


def test_demo_lake_gold_is_of_tasks_and_labels_that_exist(lake: DemoLake) -> None:
    rows, gold = lake.annotations, lake.gold_labels
    assert set(gold["task"]) <= set(rows["task"])
    for project, labels in gold.groupby("project")["true_label"]:
        assert set(labels) <= set(rows.loc[rows["project"] == project, "label"])
