"""How tables are created, and brought up to date when an earlier version made them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.schemas import TABLES
from tests.spark.delta_tables import labels, properties_of, replace_labels, tables_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake ` out"  # legal, if unusual


def test_every_column_has_a_comment_and_every_key_is_required() -> None:
    for table in TABLES.values():
        assert all(column.comment for column in table.columns)
        required = {column.name for column in table.columns if column.required}
        assert set(table.key) <= required, table.name


def test_files_keep_extremes_of_the_columns_that_rows_lie_by(
    spark: SparkSession, folder: Path
) -> None:
    tables = tables_of(spark, folder, "run")
    tables.create(["aggregated_labels"])
    replace_labels(tables, labels(spark, "run", {"t1": ("a", 0.9), "t2": ("b", 0.6)}))
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
    replace_labels(old, row)

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

    before = new._commits(now.name).newest()
    new.create([now.name])  # nothing is left to do
    assert new._commits(now.name).newest() == before
