"""Classical methods of a run: equal to the core, for all projects, and bad projects apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pyspark.sql import SparkSession

from crowdfm_core.config import load_config
from crowdfm_core.method_batches import project_seed
from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.registry import aggregate
from jobs.run import run_nightly
from tests.spark.answers import assignments

METHODS = ["majority_vote", "dawid_skene", "glad", "mace", "wawa", "gold_majority_vote"]
# Project -> tasks, workers, options; "split" falls into two components that share their options.
PROJECTS = {"one": (40, 9, 4), "split": (30, 8, 3), "tiny": (1, 1, 1)}
# Truth of two tasks in "one", and one that nobody answered there and which is thus no option.
GOLD = {("one", "t'0"): "o03\u00e9", ("one", "t'4"): "o00\u00e9", ("one", "t'5"): "o99"}
WIDE = 400  # a worker and an option for each answer: confusion matrices of 3 x 0.5 GB


def answers_frame() -> pd.DataFrame:
    """Random answers, with odd ids; every (task, worker) once."""
    rng = np.random.default_rng(1)
    rows = []
    for project, task, worker, options in assignments(PROJECTS, rng):
        # Half of the answers are the task's own option, so that there is something to fit.
        option = task % options if rng.random() < 0.5 else rng.integers(0, options)
        rows.append((project, f"t'{task}", f"w{worker}", f"o{option:02}\u00e9"))
    rows += [("wide", f"t{i // 4}", f"w{i}", f"o{i:03}") for i in range(WIDE)]
    return pd.DataFrame(rows, columns=["project", "task", "worker", "label"])


@pytest.fixture(scope="module")
def run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """One run of several methods in batches smaller than the largest project, and its summary."""
    folder = tmp_path_factory.mktemp("methods")
    (folder / "in").mkdir()
    answers_frame().to_parquet(folder / "in" / "rows.parquet")
    truths = pd.DataFrame(
        [(*key, label) for key, label in GOLD.items()], columns=["project", "task", "true_label"]
    )
    (folder / "gold").mkdir()
    truths.to_parquet(folder / "gold" / "rows.parquet")
    settings = {
        "gold": {
            "path": str(folder / "gold"),
            "format": "parquet",
            "columns": {"project_id": "project"},
            "pin_posteriors": True,
        },
        "input": {
            "path": str(folder / "in"),
            "format": "parquet",
            "columns": {"project_id": "project"},
        },
        "output": {"path": str(folder / "out")},
        "quality": False,
        "methods": METHODS,
        "engines": {"wawa": "sql", "gold_majority_vote": "sql"},
        "scoring": {"max_annotations_per_batch": 130, "max_method_gib": 0.5},
        "spark": {"master": "local[2]"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(settings))
    return folder, run_nightly(load_config(folder / "job.yaml"))


def table(spark: SparkSession, run: tuple[Path, Any], name: str) -> Any:
    """As a pandas frame, whose stubs refuse a mixed index."""
    return spark.read.format("delta").load(str(run[0] / "out" / name)).toPandas()


def in_core(method: str, project: str) -> tuple[MethodResult, Answers, list[Any], list[Any]]:
    """The method on one project by itself: result, answers, sorted task ids, sorted labels."""
    frame = answers_frame()
    rows = frame[frame["project"] == project]
    (tasks, task), (workers, worker), (labels, label) = (
        np.unique(rows[name].to_numpy(str), return_inverse=True)
        for name in ("task", "worker", "label")
    )
    index = [part.astype(np.int32) for part in (task, worker, label)]
    answers = Answers(index[0], index[1], index[2], len(tasks), len(workers), len(labels))
    known = [GOLD.get((project, task)) for task in tasks]
    gold = np.array([list(labels).index(truth) if truth in labels else -1 for truth in known])
    result = aggregate(method, answers, seed=project_seed(method, project), gold=gold)
    return result, answers, list(tasks), list(labels)


@pytest.mark.parametrize("method", METHODS[1:])
def test_tables_equal_the_core_project_by_project(
    spark: SparkSession, run: tuple[Path, Any], method: str
) -> None:
    labels = table(spark, run, "aggregated_labels")
    scores = table(spark, run, "worker_scores")
    fits = table(spark, run, "method_fits").set_index(["project_id", "method"])
    needs_gold = method == "gold_majority_vote"
    for project in ("one",) if needs_gold else PROJECTS:
        expected, answers, tasks, options = in_core(method, project)
        mine = labels[(labels["project_id"] == project) & (labels["method"] == method)]
        mine = mine.set_index("task_id").loc[tasks]
        assert mine["label"].tolist() == [options[index] for index in expected.label]
        assert expected.probabilities is not None
        for found, row in zip(mine["probabilities"], expected.probabilities, strict=True):
            dense = [found.get(option, 0.0) for option in options]
            np.testing.assert_allclose(dense, row, atol=3e-9)
        assert mine["num_annotations"].tolist() == answers.answers_per_task().tolist()
        own = scores[(scores["project_id"] == project) & (scores["method"] == method)]
        found_scores = own.sort_values("worker_id")["score"]
        np.testing.assert_allclose(found_scores, expected.worker_score, atol=1e-12)
        fit = fits.loc[(project, method)]
        assert (fit["iterations"], fit["converged"], fit["problem"]) == (
            expected.iterations,
            expected.converged,
            None,
        )


def test_project_that_is_too_large_gets_a_row_that_says_so(
    spark: SparkSession, run: tuple[Path, Any]
) -> None:
    fits = table(spark, run, "method_fits")
    bad = fits[fits["problem"].notna()].set_index(["project_id", "method"])["problem"]
    without_gold = [(project, "gold_majority_vote") for project in ("split", "tiny", "wide")]
    assert set(bad.index) == {*without_gold, ("wide", "dawid_skene")}
    assert "400 options need 1.4 GiB, the limit is 0.5 GiB" in bad.loc[("wide", "dawid_skene")]
    assert all("nobody answered a gold task" in bad.loc[key] for key in without_gold)
    labels = table(spark, run, "aggregated_labels")
    wide = labels[labels["project_id"] == "wide"].groupby("method").size().to_dict()
    assert wide == dict.fromkeys(["glad", "mace", "majority_vote", "wawa"], WIDE // 4)
    assert not ((labels["project_id"] == "wide") & (labels["method"] == "dawid_skene")).any()
    scores = table(spark, run, "worker_scores")
    assert not ((scores["project_id"] == "wide") & (scores["method"] == "dawid_skene")).any()


def test_summary_has_seconds_and_counts_of_every_method(run: tuple[Path, Any]) -> None:
    summary = run[1]
    assert [phase for phase in summary.phase_seconds if phase in METHODS] == METHODS
    tasks = sum(tasks for tasks, _, _ in PROJECTS.values()) + WIDE // 4
    without_wide = tasks - WIDE // 4
    fewer = {"dawid_skene": without_wide, "gold_majority_vote": PROJECTS["one"][0]}
    assert summary.labelled == {**dict.fromkeys(METHODS, tasks), **fewer}
    problems = {"dawid_skene": 1, "glad": 0, "mace": 0, "wawa": 0, "gold_majority_vote": 3}
    assert summary.problems == problems
    text = summary.to_text()
    assert text.count("projects without, see method_fits") == 2
