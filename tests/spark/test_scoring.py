"""The scoring stage: equal to the core, and the same however the work is cut up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crowdfm_core import CrowdFM
from crowdfm_core.config import ModelConfig
from crowdfm_core.weights import load_weights
from jobs.spark_settings import settings_of
from jobs.steps.batches import assign_batches, place_largest_first
from jobs.steps.components import add_components, find_components
from jobs.steps.options import index_options
from jobs.steps.outputs import labels_from_scores, workers_from_scores
from jobs.steps.scoring import score_annotations
from tests.spark.answers import assignments, sizes_of

MODEL = ModelConfig(num_draws=2)
# Project -> tasks, workers, options; "split" falls into two components.
PROJECTS = {"one": (40, 9, 4), "split": (30, 8, 3), "tiny": (1, 1, 1), "many": (12, 6, 80)}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Random answers, with odd ids; every (task, worker) once."""
    rng = np.random.default_rng(1)
    rows = []
    for project, task, worker, options in assignments(PROJECTS, rng):
        label = f"o{rng.integers(0, options):02}\u00e9"
        rows.append((project, f"t'{task}\n", f"w{worker}", label))
    return pd.DataFrame(rows, columns=["project_id", "task_id", "worker_id", "label"])


def score(
    annotations: DataFrame,
    max_annotations: int,
    max_probabilities: int = 100,
    max_bytes: int = 2**30,
) -> tuple[Any, Any]:
    """Tables of tasks and workers as pandas frames, whose stubs refuse a mixed index."""
    placed = add_components(annotations, find_components(annotations))
    batches = assign_batches(sizes_of(placed), max_annotations=max_annotations)
    scores = score_annotations(
        placed,
        index_options(placed),
        batches,
        model=MODEL,
        weights_sha256=load_weights(MODEL.weights).sha256,
        device="auto",
        max_bytes=max_bytes,
        max_probabilities=max_probabilities,
        profile=None,
    ).cache()
    labels = labels_from_scores(scores).toPandas().set_index(["project_id", "task_id"])
    workers = workers_from_scores(scores).toPandas().set_index(["project_id", "worker_id"])
    scores.unpersist()
    return labels.sort_index(), workers.sort_index()


def test_a_component_beyond_the_memory_names_its_project_and_the_setting(
    spark: SparkSession, frame: pd.DataFrame
) -> None:
    with pytest.raises(PythonException, match=r"project '.*raise scoring\.max_model_gib"):
        score(spark.createDataFrame(frame), max_annotations=1_000_000, max_bytes=1000)


def test_tables_equal_the_core(spark: SparkSession, frame: pd.DataFrame) -> None:
    labels, workers = score(spark.createDataFrame(frame), max_annotations=1_000_000)
    assert len(labels) == frame.groupby(["project_id", "task_id"]).ngroups
    assert len(workers) == frame.groupby(["project_id", "worker_id"]).ngroups
    for project, rows in frame.groupby("project_id"):
        renamed = rows.rename(columns={"task_id": "task", "worker_id": "worker"})
        model = CrowdFM(num_draws=2, project_id=str(project))
        expected: Any = model.fit_predict_proba(renamed)
        found = labels.loc[project]
        for task, row in expected.iterrows():
            got = found.loc[task, "probabilities"]
            # The table leaves out what cannot be: options that nobody gave the task, of many.
            assert row.drop(list(got)).sum() == 0
            assert got == pytest.approx(row[list(got)].to_dict(), abs=1e-5)
        assert found["label"].to_dict() == model.labels_.to_dict()
        assert workers.loc[project, "expected_accuracy"].to_dict() == pytest.approx(
            model.skills_.to_dict(), abs=1e-5
        )
    answers = frame.groupby(["project_id", "task_id"]).size()
    assert labels["num_annotations"].to_dict() == answers.to_dict()
    merged = frame.merge(labels["label"].rename("winner").reset_index())
    merged["agrees"] = merged["label"] == merged["winner"]
    assert labels["agreement"].to_dict() == pytest.approx(
        merged.groupby(["project_id", "task_id"])["agrees"].mean().to_dict()
    )
    assert workers["agreement_with_aggregate"].to_dict() == pytest.approx(
        merged.groupby(["project_id", "worker_id"])["agrees"].mean().to_dict()
    )
    assert labels.loc["tiny", "runner_up_label"].isna().all()
    assert labels.loc["tiny", "probability"].tolist() == [pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("max_annotations", "partitions", "arrow_rows"),
    [
        (40, 1, 10_000),  # every component begins in a batch of its own
        (100, 7, 10_000),  # some packed, seven partitions
        (1_000_000, 3, 7),  # all in one batch, which comes in many small record batches
    ],
)
def test_any_cut_of_the_work_gives_the_same_tables(
    spark: SparkSession, frame: pd.DataFrame, max_annotations: int, partitions: int, arrow_rows: int
) -> None:
    expected, expected_workers = score(spark.createDataFrame(frame), 1_000_000)
    shuffled = spark.createDataFrame(frame.sample(frac=1, random_state=3)).repartition(partitions)
    changed = {
        "spark.sql.shuffle.partitions": str(partitions),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(arrow_rows),
    }
    with settings_of(spark, changed):
        labels, workers = score(shuffled, max_annotations)
    assert labels["label"].to_dict() == expected["label"].to_dict()
    assert labels["component_id"].to_dict() == expected["component_id"].to_dict()
    for column in ("probability", "margin", "entropy", "difficulty"):
        np.testing.assert_allclose(labels[column], expected[column], atol=1e-4)
    for column in ("score", "ability"):
        np.testing.assert_allclose(workers[column], expected_workers[column], atol=1e-3)


def _loads(batches: DataFrame, components: DataFrame) -> list[Any]:
    return (
        batches.join(components, ["project_id", "component_id"])
        .groupBy("batch_index")
        .agg(
            F.sum("num_annotations").alias("load"),
            F.max("num_annotations").alias("largest"),
            F.count("*").alias("number"),
        )
        .collect()
    )


def test_batches_are_even_and_any_partitioning_gives_the_same(spark: SparkSession) -> None:
    rng = np.random.default_rng(2)
    sizes = np.minimum(rng.pareto(1.0, 400) * 10 + 1, 900).astype(int)
    rows = [(f"p{i % 37}", f"c{i}", int(size)) for i, size in enumerate(sizes)]
    components = spark.createDataFrame(
        rows, "project_id string, component_id string, num_annotations bigint"
    )
    batches = assign_batches(components, max_annotations=1000)
    assert batches.count() == 400
    loads = _loads(batches, components)
    mean = sizes.sum() / -(-sizes.sum() // 1000)
    assert sizes.max() < mean
    assert max(row["load"] for row in loads) < 1.1 * mean + 1
    # Neither the number of partitions nor the order of rows leaves a trace.
    with settings_of(spark, {"spark.sql.shuffle.partitions": "7"}):
        again = set(assign_batches(components.repartition(5), max_annotations=1000).collect())
    assert again == set(batches.collect())


def test_a_component_beyond_the_budget_is_a_batch_of_its_own(spark: SparkSession) -> None:
    sizes = [5000, *([30] * 100)]  # 8 batches of 1000, of which the first holds one component
    rows = [("p", f"c{i:03}", size) for i, size in enumerate(sizes)]
    components = spark.createDataFrame(
        rows, "project_id string, component_id string, num_annotations bigint"
    )
    loads = _loads(assign_batches(components, max_annotations=1000), components)
    assert [row["number"] for row in loads if row["largest"] == 5000] == [1]
    others = [row["load"] for row in loads if row["largest"] < 5000]
    assert sum(others) == 3000
    assert max(others) <= 3000 / 7 + 30


def test_the_largest_are_placed_first_where_least_is() -> None:
    assert place_largest_first([7, 5, 4, 4, 1], 3) == ([0, 1, 2, 2, 1], [7, 6, 8])
    assert place_largest_first([], 2) == ([], [0, 0])


def test_long_option_lists_are_cut_in_the_table(spark: SparkSession, frame: pd.DataFrame) -> None:
    many = spark.createDataFrame(frame[frame["project_id"] == "many"])
    whole, _ = score(many, 1_000_000)
    labels, _ = score(many, 1_000_000, max_probabilities=2)
    assert min(len(found) for found in whole["probabilities"]) > 2
    assert {len(found) for found in labels["probabilities"]} == {2}
