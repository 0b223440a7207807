"""Delta tables: created with constraints, replaced without touching what is equal."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

import jobs.tables
from crowdfm_core.errors import InputError, RunError
from jobs.schemas import TABLES
from jobs.spark_errors import SPARK_ERRORS
from jobs.steps.outputs import stamp
from jobs.tables import Tables
from tests.spark.delta_tables import labels, replace_labels, tables_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake ` out"  # legal, if unusual


def commits_of(spark: SparkSession, tables: Tables, table: str = "aggregated_labels") -> list[Row]:
    """What DESCRIBE HISTORY says of commits, the newest first."""
    commits = spark.sql(f"DESCRIBE HISTORY {tables.name(table)}").collect()
    return sorted(commits, key=itemgetter("version"), reverse=True)


def test_replace_rows_touches_only_what_differs(spark: SparkSession, folder: Path) -> None:
    first = tables_of(spark, folder, "run-1")
    first.create(["aggregated_labels"])
    before = {"same": ("a", 0.9), "changed": ("a", 0.9), "gone": ("a", 0.9), "null": ("a", None)}
    replace_labels(first, labels(spark, "run-1", before))
    second = tables_of(spark, folder, "run-2")
    second.create(["aggregated_labels"])  # does nothing to tables that are there
    after = {"same": ("a", 0.9), "changed": ("b", 0.8), "new": ("a", 0.9), "null": ("a", None)}
    replace_labels(second, labels(spark, "run-2", after))
    rows = second.read("aggregated_labels").collect()
    assert {row["task_id"]: (row["label"], row["run_id"]) for row in rows} == {
        "same": ("a", "run-1"),
        "changed": ("b", "run-2"),
        "new": ("a", "run-2"),
        "null": ("a", "run-1"),  # null equals null
    }
    # New rows rewrite no file, and are there before others change.
    merged, appended = commits_of(spark, second)[:2]
    assert (merged["operation"], appended["operation"]) == ("MERGE", "WRITE")
    assert merged["operationMetrics"]["numTargetRowsInserted"] == "0"
    assert appended["operationMetrics"]["numOutputRows"] == "1"
    for commit in (merged, appended):
        assert json.loads(commit["userMetadata"]) == {"run_id": "run-2"}
    assert second.versions == {"aggregated_labels": merged["version"]}
    third = tables_of(spark, folder, "run-3")
    replace_labels(third, labels(spark, "run-3", after))
    assert third.versions == second.versions  # equal rows: no commit


def test_rows_are_computed_once_where_some_differ(spark: SparkSession, folder: Path) -> None:
    tables = tables_of(spark, folder, "run-1")
    tables.create(["aggregated_labels"])
    replace_labels(
        tables, stamp(labels(spark, "run-1", {"one": ("a", 0.9), "two": ("a", 0.9)}), "run-1")
    )
    computed = spark.sparkContext.accumulator(0)
    rows = labels(spark, "run-2", {"one": ("a", 0.9), "two": ("b", 0.9)})

    def counted(row: Row) -> Row:
        computed.add(1)
        return row

    replace_labels(
        tables_of(spark, folder, "run-2"),
        stamp(spark.createDataFrame(rows.rdd.map(counted), rows.schema), "run-2"),
    )
    assert computed.value == 2
    newest = spark.read.format("delta").load(str(folder / "aggregated_labels"))
    found = newest.select("task_id", "run_id").collect()
    assert sorted(map(tuple, found)) == [("one", "run-1"), ("two", "run-2")]


def test_other_run_that_writes_between_is_noticed_and_nothing_is_lost(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tables_of(spark, folder, "run-1")
    first.create(["aggregated_labels"])
    replace_labels(first, labels(spark, "run-1", {"t": ("a", 0.9)}))
    mine, other = tables_of(spark, folder, "mine"), tables_of(spark, folder, "other")
    compare = jobs.tables._changes

    def late(*frames: Any) -> DataFrame:
        monkeypatch.setattr(jobs.tables, "_changes", compare)
        replace_labels(other, labels(spark, "other", {"t": ("a", 0.9), "u": ("b", 0.8)}))
        return compare(*frames)

    monkeypatch.setattr(jobs.tables, "_changes", late)
    message = r'no other writer from version 1 .*version 2 \(WRITE {"run_id": "other"}\)'
    with pytest.raises(RunError, match=message):
        replace_labels(mine, labels(spark, "mine", {"t": ("c", 0.7)}))
    assert mine.versions == {}
    assert {row["task_id"] for row in other.read("aggregated_labels").collect()} == {"t", "u"}


def test_upkeep_between_is_no_other_writer(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tables_of(spark, folder, "mine")
    mine.create(["aggregated_labels"])
    replace_labels(mine, labels(spark, "mine", {"t": ("a", 0.9)}))
    compare = jobs.tables._changes

    def late(*frames: Any) -> DataFrame:
        spark.sql(f"OPTIMIZE {mine.name('aggregated_labels')} FULL")
        return compare(*frames)

    monkeypatch.setattr(jobs.tables, "_changes", late)
    replace_labels(mine, labels(spark, "mine", {"t": ("b", 0.9)}))
    assert [row["label"] for row in mine.read("aggregated_labels").collect()] == ["b"]
    operations = [commit["operation"] for commit in commits_of(spark, mine)]
    assert operations[:2] == ["MERGE", "OPTIMIZE"]


def test_other_run_that_writes_between_two_commits_is_noticed(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tables_of(spark, folder, "mine")
    mine.create(["aggregated_labels"])
    replace_labels(mine, labels(spark, "mine", {"t": ("a", 0.9), "u": ("a", 0.9)}))
    append, unmarked = Tables._append, spark.newSession()

    def append_and_let_write(tables: Tables, *arguments: Any) -> None:
        append(tables, *arguments)
        unmarked.sql(f"DELETE FROM {mine.name('aggregated_labels')} WHERE task_id = 'u'")

    monkeypatch.setattr(Tables, "_append", append_and_let_write)
    after = {"t": ("b", 0.9), "u": ("a", 0.9), "new": ("a", 0.9)}
    with pytest.raises(RunError, match=r"no other writer from version 1 .*version 3 \(DELETE"):
        replace_labels(mine, labels(spark, "mine", after))


def test_table_that_was_emptied_is_loaded_again(spark: SparkSession, folder: Path) -> None:
    tables = tables_of(spark, folder, "run")
    tables.create(["aggregated_labels"])
    nights: list[dict[str, tuple[str, float | None]]] = [{"t": ("a", 0.9)}, {}, {"t": ("b", 0.9)}]
    for rows in nights:
        replace_labels(tables, labels(spark, "run", rows))
        found = tables.read("aggregated_labels").collect()
        assert {row["task_id"]: (row["label"], row["probability"]) for row in found} == rows


@pytest.mark.parametrize("present", [{}, {"old": ("a", 0.9)}], ids=["first loads", "new rows"])
def test_appends_at_once_never_double_the_rows(
    spark: SparkSession, folder: Path, present: dict[str, tuple[str, float | None]]
) -> None:
    setup = tables_of(spark, folder, "setup")
    setup.create(["aggregated_labels"])
    if present:
        replace_labels(setup, labels(spark, "setup", present))
    runs = {name: spark.newSession() for name in ("one", "two")}  # commits are marked per session

    def load(name: str) -> Tables | None:
        tables = tables_of(runs[name], folder, name)
        try:
            new = present | {f"t{n}": (name, 0.9) for n in range(5)}
            replace_labels(tables, labels(runs[name], name, new))
        except (RunError, *SPARK_ERRORS):
            return None
        return tables

    with ThreadPoolExecutor(2) as pool:
        done = [tables for tables in pool.map(load, runs) if tables is not None]
    assert done
    for tables in done:  # each sees its own rows, whatever the other did
        found = tables.read("aggregated_labels").where("task_id != 'old'").collect()
        assert [row["label"] for row in found] == [tables.run_id] * 5
    later = tables_of(spark, folder, "later").read("aggregated_labels")
    assert later.count() == len(present) + 5


def test_clone_takes_new_rows(spark: SparkSession, folder: Path) -> None:
    tables = tables_of(spark, folder, "one")
    tables.create(["aggregated_labels"])
    for rows in ({"t": ("a", 0.9)}, {"t": ("a", 0.9), "u": ("a", 0.9)}):
        replace_labels(tables, labels(spark, "one", rows))
    clone = tables_of(spark, folder / "clone", "two")  # it keeps the marks of appends
    spark.sql(
        f"CREATE TABLE {clone.name('aggregated_labels')} "
        f"SHALLOW CLONE {tables.name('aggregated_labels')}"
    )
    after = dict.fromkeys(("t", "u", "new"), ("a", 0.9))
    replace_labels(clone, labels(spark, "two", after))
    of_run = {row["task_id"]: row["run_id"] for row in clone.read("aggregated_labels").collect()}
    assert of_run == {"t": "one", "u": "one", "new": "two"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"t": ("a", 1.5)}, "probability_in_unit_interval"),
        ({"t": (None, 0.5)}, "(?i)not.?null.*label"),
    ],
)
def test_row_that_breaks_a_constraint_is_refused(
    spark: SparkSession, folder: Path, rows: dict[str, Any], message: str
) -> None:
    tables = tables_of(spark, folder, "run-1")
    tables.create(["aggregated_labels"])
    good = labels(spark, "run-1", {"good": ("a", 0.5)})
    replace_labels(tables, good)
    with pytest.raises(Exception, match=message):
        replace_labels(tables, labels(spark, "run-2", {"good": ("a", 0.5)} | rows))
    assert tables.read("aggregated_labels").count() == 1


def test_output_that_cannot_be_written_is_named(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(InputError, match=r"output delta.*file/out/annotations.*cannot be created"):
        tables_of(spark, file / "out", "run-1").create(TABLES)


def test_history_keeps_rows_of_published_runs_alone(spark: SparkSession, folder: Path) -> None:
    def of_run(name: str, table: str, **given: Any) -> DataFrame:
        spec = TABLES[table]
        kinds = {"string": name, "bigint": 1, "timestamp": datetime(2026, 1, 1)}
        values = [
            given.get(column.name, kinds.get(column.type) if column.required else None)
            for column in spec.columns
        ]
        return spark.createDataFrame([values], spec.schema)

    tables_of(spark, folder, "one").create(["method_quality", "runs"])
    # The second fails after it has written; the third is tried again.
    for name, published in (("one", True), ("two", False), ("three", True), ("three", True)):
        tables = tables_of(spark, folder, name)
        with tables.marked_commits():
            row = of_run(name, "method_quality", project_id="p", method="m")
            tables.replace_rows("method_quality", row)
            if published:
                tables.record_run(of_run(name, "runs", status="SUCCEEDED"))
    rows = tables.read("method_quality").collect()
    assert sorted(row["run_id"] for row in rows) == ["one", "three"]
    runs = spark.read.table(tables.name("runs")).collect()
    assert sorted(row["run_id"] for row in runs) == ["one", "three"]
    # Rows of published runs are not rewritten; those of the run that failed are deleted.
    commits = commits_of(spark, tables, "method_quality")
    operations = [row["operation"] for row in commits][:-1]
    assert operations == ["MERGE", "WRITE", "WRITE", "WRITE"]
