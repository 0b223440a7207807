"""Components: a catalogue of shapes, random graphs against scipy, any partitioning."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from crowdfm_core.errors import ScoringError
from jobs.spark_settings import settings_of
from jobs.steps.annotations import arrange_by_task
from jobs.steps.components import (
    add_components,
    check_components,
    component_sizes,
    find_components,
)
from udfs.groups import gathered_groups, whole_groups

SCHEMA = "project_id string, task_id string, worker_id string, label string"


def id_of(smallest_task: str) -> str:
    return hashlib.sha256(smallest_task.encode()).hexdigest()[:16]


CATALOGUE = {
    # project -> edges task-worker, and the smallest task of every worker's component
    "single": ("t-w", {"w": "t"}),
    "chain": ("b-1 b-2 a-2 a-3 c-3", {"1": "a", "2": "a", "3": "a"}),
    "star": ("t1-w t2-w t3-w", {"w": "t1"}),
    "two": ("a-1 b-1 c-2 d-2", {"1": "a", "2": "c"}),
    "other": ("a-1 b-2", {"1": "a", "2": "b"}),  # ids of another project do not connect
    "odd": ("\U0001f600-w\u00e9 '\"`\n-w\u00e9", {"w\u00e9": "'\"`\n"}),
}


@pytest.mark.parametrize("partitions", [1, 7])
def test_catalogue_of_shapes(spark: SparkSession, partitions: int) -> None:
    rows = [
        (project, *edge.split("-"), "x")
        for project, (edges, _) in CATALOGUE.items()
        for edge in edges.split(" ")
    ]
    annotations = spark.createDataFrame(rows, SCHEMA).repartition(partitions)
    with settings_of(spark, {"spark.sql.shuffle.partitions": str(partitions)}):
        found = find_components(annotations).collect()
    assert {(row["project_id"], row["worker_id"]): row["component_id"] for row in found} == {
        (project, worker): id_of(task)
        for project, (_, workers) in CATALOGUE.items()
        for worker, task in workers.items()
    }
    assert len(found) == sum(len(workers) for _, workers in CATALOGUE.values())


def test_empty_input_has_no_components(spark: SparkSession) -> None:
    assert find_components(spark.createDataFrame([], SCHEMA)).isEmpty()


@pytest.mark.parametrize("seed", [1, 2])
def test_random_graphs_equal_scipy(spark: SparkSession, seed: int) -> None:
    rng = np.random.default_rng(seed)
    task, worker = rng.integers(0, 300, 350), rng.integers(0, 200, 350)
    rows = [("p", f"t{t:03}", f"w{w:03}", "x") for t, w in zip(task, worker, strict=True)]
    annotations = spark.createDataFrame(rows, SCHEMA).distinct()
    workers = find_components(annotations)
    placed = add_components(annotations, workers).cache()
    sizes = component_sizes(placed, workers)
    check_components(annotations, sizes)

    matrix = coo_matrix((np.ones(350), (task, worker + 300)), shape=(500, 500))
    _, label = connected_components(matrix, directed=False)
    smallest = {label[t]: f"t{t:03}" for t in sorted(set(task), reverse=True)}
    expected = {f"w{w:03}": id_of(smallest[label[w + 300]]) for w in worker}
    assert {row["worker_id"]: row["component_id"] for row in workers.collect()} == expected
    sizes_by_id = {row["component_id"]: row for row in sizes.collect()}
    for component, first in smallest.items():
        row = sizes_by_id[id_of(first)]
        assert row["num_tasks"] == len({t for t in task if label[t] == component})
        assert row["num_workers"] == len({w for w in worker if label[w + 300] == component})
        assert row["num_options"] == 1


def test_task_in_two_components_is_noticed(spark: SparkSession) -> None:
    rows = [("p", "t", "w1", "a", "c1"), ("p", "t", "w2", "a", "c2")]
    annotations = arrange_by_task(spark.createDataFrame(rows, SCHEMA + ", component_id string"))
    workers = annotations.select("project_id", "worker_id", "component_id")
    with pytest.raises(ScoringError, match=r"no task in two, got 2 .* and 1 tasks in two"):
        check_components(annotations, component_sizes(annotations, workers))


def test_annotation_without_a_component_is_noticed(spark: SparkSession) -> None:
    rows = [("p", "t", "w1", "a", "c1"), ("p", "t", "w2", "a", "c1")]
    annotations = arrange_by_task(spark.createDataFrame(rows, SCHEMA + ", component_id string"))
    placed = annotations.where("worker_id = 'w1'")
    with pytest.raises(ScoringError, match=r"each of 2 annotations .* got 1 annotations"):
        check_components(annotations, component_sizes(placed, placed))


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 4), max_size=30).map(sorted),
    st.integers(1, 7),
    st.integers(1, 6),
)
def test_whole_groups_never_splits_a_group(keys: list[int], size: int, min_rows: int) -> None:
    rows = pa.RecordBatch.from_pydict({"key": keys, "row": list(range(len(keys)))})
    batches = [rows.slice(at, size) for at in range(0, len(keys), size)]
    tables = list(whole_groups(batches, ["key"], min_rows=min_rows))
    assert [row for table in tables for row in table["row"].to_pylist()] == list(range(len(keys)))
    sets = [set(table["key"].to_pylist()) for table in tables]
    assert sum(map(len, sets)) == len(set(keys))
    assert all(table.num_rows >= min_rows for table in tables[:-1])
    if min_rows == 1:
        assert all(len(found) == 1 for found in sets)


def test_gathered_groups_are_whole_in_whatever_order_rows_come() -> None:
    """And hold on to no rows but their own."""
    rows = pa.RecordBatch.from_pydict({"key": [2, 0, 2, 1, 0, 2], "row": list(range(6))})
    groups = gathered_groups([rows.slice(0, 4), rows.slice(4, 0), rows.slice(4)], "key")
    found = {key: pa.Table.from_batches(group)["row"].to_pylist() for key, group in groups.items()}
    assert found == {2: [0, 2, 5], 0: [1, 4], 1: [3]}
    assert {group.column("row").buffers()[1].size for group in groups[0]} == {8}
