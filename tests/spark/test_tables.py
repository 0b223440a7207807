"""Delta tables: created with constraints, replaced without touching what is equal."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
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
from tests.spark.delta_tables import tables_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake ` out"  # legal, if unusual


def replace(tables: Tables, rows: DataFrame) -> None:
    with tables.marked_commits():
        tables.replace_rows("aggregated_labels", rows)


def labels(
    spark: SparkSession, run_id: str, rows: dict[str, tuple[str, float | None]]
) -> DataFrame:
    spec = TABLES["aggregated_labels"]
    values: list[dict[str, Any]] = [
        {
            "project_id": "p",
            "task_id": task,
            "method": "crowdfm",
            "label": label,
            "probability": probability,
            "probabilities": {"option": probability, "other": None},
            "num_annotations": 3,
            "is_tie": False,
            "run_id": run_id,
            "updated_at": datetime(2026, 1, 1),
        }
        for task, (label, probability) in rows.items()
    ]
    ordered = [[value.get(name) for name in spec.column_names] for value in values]
    return spark.createDataFrame(ordered, spec.schema)


def test_replace_rows_touches_only_what_differs(spark: SparkSession, folder: Path) -> None:
    first = tables_of(spark, folder, "run-1")
    first.create(["aggregated_labels"])
    before = {"same": ("a", 0.9), "changed": ("a", 0.9), "gone": ("a", 0.9), "null": ("a", None)}
    replace(first, labels(spark, "run-1", before))
    second = tables_of(spark, folder, "run-2")
    second.create(["aggregated_labels"])  # does nothing to tables that are there
    after = {"same": ("a", 0.9), "changed": ("b", 0.8), "new": ("a", 0.9), "null": ("a", None)}
    replace(second, labels(spark, "run-2", after))
    rows = second.read("aggregated_labels").collect()
    assert {row["task_id"]: (row["label"], row["run_id"]) for row in rows} == {
        "same": ("a", "run-1"),
        "changed": ("b", "run-2"),
        "new": ("a", "run-2"),
        "null": ("a", "run-1"),  # null equals null
    }
    history = spark.sql(f"DESCRIBE HISTORY {second.name('aggregated_labels')}").collect()
    newest = max(history, key=lambda commit: int(commit["version"]))
    assert json.loads(newest["userMetadata"]) == {"run_id": "run-2"}
    assert second.versions == {"aggregated_labels": newest["version"]}
    third = tables_of(spark, folder, "run-3")
    replace(third, labels(spark, "run-3", after))
    assert third.versions == second.versions  # equal rows: no commit


def test_rows_are_computed_once_where_some_differ(spark: SparkSession, folder: Path) -> None:
    tables = tables_of(spark, folder, "run-1")
    tables.create(["aggregated_labels"])
    replace(tables, stamp(labels(spark, "run-1", {"one": ("a", 0.9), "two": ("a", 0.9)}), "run-1"))
    computed = spark.sparkContext.accumulator(0)
    rows = labels(spark, "run-2", {"one": ("a", 0.9), "two": ("b", 0.9)})

    def counted(row: Row) -> Row:
        computed.add(1)
        return row

    replace(
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
    replace(first, labels(spark, "run-1", {"t": ("a", 0.9)}))
    mine, other = tables_of(spark, folder, "mine"), tables_of(spark, folder, "other")
    compare = jobs.tables._changes

    def late(*frames: Any) -> DataFrame:
        monkeypatch.setattr(jobs.tables, "_changes", compare)
        replace(other, labels(spark, "other", {"t": ("a", 0.9), "u": ("b", 0.8)}))
        return compare(*frames)

    monkeypatch.setattr(jobs.tables, "_changes", late)
    message = r'no other writer from version 1 .*version 2 \(MERGE {"run_id": "other"}\)'
    with pytest.raises(RunError, match=message):
        replace(mine, labels(spark, "mine", {"t": ("c", 0.7)}))
    assert mine.versions == {}
    assert {row["task_id"] for row in other.read("aggregated_labels").collect()} == {"t", "u"}


def test_upkeep_between_is_no_other_writer(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tables_of(spark, folder, "mine")
    mine.create(["aggregated_labels"])
    replace(mine, labels(spark, "mine", {"t": ("a", 0.9)}))
    compare = jobs.tables._changes

    def late(*frames: Any) -> DataFrame:
        spark.sql(f"OPTIMIZE {mine.name('aggregated_labels')} FULL")
        return compare(*frames)

    monkeypatch.setattr(jobs.tables, "_changes", late)
    replace(mine, labels(spark, "mine", {"t": ("b", 0.9)}))
    assert [row["label"] for row in mine.read("aggregated_labels").collect()] == ["b"]
    operations = spark.sql(f"DESCRIBE HISTORY {mine.name('aggregated_labels')}").collect()
    assert [row["operation"] for row in operations][:2] == ["MERGE", "OPTIMIZE"]


def test_table_that_was_emptied_is_loaded_again(spark: SparkSession, folder: Path) -> None:
    tables = tables_of(spark, folder, "run")
    tables.create(["aggregated_labels"])
    nights: list[dict[str, tuple[str, float | None]]] = [{"t": ("a", 0.9)}, {}, {"t": ("b", 0.9)}]
    for rows in nights:
        replace(tables, labels(spark, "run", rows))
        found = tables.read("aggregated_labels").collect()
        assert {row["task_id"]: (row["label"], row["probability"]) for row in found} == rows


def test_first_loads_at_once_never_double_the_rows(spark: SparkSession, folder: Path) -> None:
    tables_of(spark, folder, "setup").create(["aggregated_labels"])
    runs = {name: spark.newSession() for name in ("one", "two")}  # commits are marked per session

    def load(name: str) -> Tables | None:
        tables = tables_of(runs[name], folder, name)
        try:
            replace(tables, labels(runs[name], name, {f"t{n}": (name, 0.9) for n in range(5)}))
        except (RunError, *SPARK_ERRORS):
            return None
        return tables

    with ThreadPoolExecutor(2) as pool:
        done = [tables for tables in pool.map(load, runs) if tables is not None]
    assert done
    for tables in done:  # each sees its own rows, whatever the other did
        found = tables.read("aggregated_labels").collect()
        assert [row["label"] for row in found] == [tables.run_id] * 5
    assert tables_of(spark, folder, "later").read("aggregated_labels").count() == 5


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
    replace(tables, good)
    with pytest.raises(Exception, match=message):
        replace(tables, labels(spark, "run-2", {"good": ("a", 0.5)} | rows))
    assert tables.read("aggregated_labels").count() == 1


def test_output_that_cannot_be_written_is_named(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(InputError, match=r"output delta.*file/out/annotations.*cannot be created"):
        tables_of(spark, file / "out", "run-1").create(TABLES)


def test_every_column_has_a_comment_and_every_key_is_required() -> None:
    for table in TABLES.values():
        assert all(column.comment for column in table.columns)
        required = {column.name for column in table.columns if column.required}
        assert set(table.key) <= required, table.name


def properties_of(spark: SparkSession, name: str) -> dict[str, str]:
    shown = spark.sql(f"SHOW TBLPROPERTIES {name}").collect()
    return {row["key"]: row["value"] for row in shown}


def test_files_keep_extremes_of_the_columns_that_rows_lie_by(
    spark: SparkSession, folder: Path
) -> None:
    tables = tables_of(spark, folder, "run")
    tables.create(["aggregated_labels"])
    replace(tables, labels(spark, "run", {"t1": ("a", 0.9), "t2": ("b", 0.6)}))
    log = folder / "aggregated_labels" / "_delta_log" / f"{1:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    kept = [json.loads(action["add"]["stats"]) for action in actions if "add" in action]
    lies_by = {"project_id", "method", "task_id"}
    assert sum(stats["numRecords"] for stats in kept) == 2
    for stats in kept:
        assert set(stats["minValues"]) == {*lies_by, "run_id", "updated_at"}


def test_another_choice_of_columns_to_skip_files_by_stays(
    spark: SparkSession, folder: Path
) -> None:
    tables = tables_of(spark, folder, "run")
    tables.create(["aggregated_labels"])
    name, skips_by = tables.name("aggregated_labels"), "delta.dataSkippingStatsColumns"

    def chosen() -> str | None:
        return properties_of(spark, name).get(skips_by)

    ours = chosen()
    assert ours == "project_id,method,task_id,run_id,updated_at"
    theirs = "project_id,method,task_id,label"
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('{skips_by}' = '{theirs}')")
    tables.create(["aggregated_labels"])
    assert chosen() == theirs
    spark.sql(f"ALTER TABLE {name} UNSET TBLPROPERTIES ('{skips_by}')")  # of an earlier version
    tables.create(["aggregated_labels"])
    assert chosen() == ours


def test_quotes_in_a_comment_do_not_end_it(spark: SparkSession) -> None:
    column = TABLES["runs"].columns[0]
    odd = dataclasses.replace(column, comment="a worker's, and a \\ too")
    schema = f"name STRING, {dataclasses.replace(TABLES['runs'], columns=(odd,)).ddl}"
    assert spark.createDataFrame([], schema).schema["run_id"].metadata["comment"] == odd.comment


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


def test_table_of_an_earlier_version_is_brought_up_to_date(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = TABLES["aggregated_labels"]
    earlier = dataclasses.replace(
        now,
        columns=tuple(column for column in now.columns if column.name != "difficulty"),
        checks={
            "probability_in_unit_interval": "probability BETWEEN 0 AND 0.5",  # another rule
            "entropy_in_unit_interval": "entropy IS NULL OR entropy <= 1",  # ours no more
            "of_somebody_else": "num_annotations < 100",
        },
    )
    monkeypatch.setitem(TABLES, now.name, earlier)
    old = tables_of(spark, folder, "old")
    old.create([now.name])
    row = labels(spark, "old", {"t": ("a", 0.4)}).drop("difficulty")
    replace(old, row)

    monkeypatch.setitem(TABLES, now.name, now)
    new = tables_of(spark, folder, "new")
    new.create([now.name])
    checks = {
        key.removeprefix("delta.constraints."): "".join(value.split())
        for key, value in properties_of(spark, new.name(now.name)).items()
        if "constraints" in key
    }
    wanted = {name: "".join(rule.split()) for name, rule in now.checks.items()}
    assert checks == {**wanted, "of_somebody_else": "num_annotations<100"}
    assert [tuple(r) for r in new.read(now.name).select("task_id", "difficulty").collect()] == [
        ("t", None)
    ]
    assert new.read(now.name).schema["difficulty"].metadata["comment"]

    version, _ = new._newest(now.name)
    new.create([now.name])  # nothing is left to do
    assert new._newest(now.name)[0] == version
