"""Reading: one shape from every format, malformed lines kept, clear errors."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from crowdfm_core.config import ColumnMapping, InputConfig
from crowdfm_core.errors import InputError
from jobs.inputs import read_rows

ROWS = [("t1", "w1", "a"), ("t2", 'w"`2', "b,\nb"), ("t3", None, "\U0001f600")]
NAMES = ["task", "worker", "label"]
ROLES = ("project_id", "task_id", "worker_id", "label", "annotated_at")


@pytest.mark.parametrize("kind", ["delta", "parquet", "csv", "json"])
def test_every_format_gives_the_same_rows(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "in")
    writer = spark.createDataFrame(ROWS, NAMES).coalesce(1).write.format(kind)
    writer.options(header="true", escape='"').save(path)
    config = InputConfig(path=path, format=kind)  # type: ignore[arg-type]
    rows = read_rows(spark, config).orderBy("task_id").collect()
    found = [tuple(row[name] for name in ROLES) for row in rows]
    assert found == [("default", *row, None) for row in ROWS]
    assert {row["read_problem"] for row in rows} == {None}
    assert all(row["source_file"].startswith("file:") for row in rows)


def test_malformed_csv_line_is_kept_with_its_text(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("task,worker,label\nt1,w1,a\nt2,w2,b,c,d\nt3,w3,a\n")
    config = InputConfig(path=str(tmp_path), format="csv")
    rows = read_rows(spark, config).orderBy("task_id").collect()
    assert [(row["task_id"], row["read_problem"]) for row in rows] == [
        ("t1", None),
        ("t2", "malformed_row"),  # two fields too many
        ("t3", None),
    ]
    assert rows[1]["raw_record"] == "t2,w2,b,c,d"


def test_malformed_json_line_is_kept_with_its_text(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"task": 1, "worker": "w", "label": true}\n{"task": \n')
    config = InputConfig(path=str(tmp_path), format="json")
    rows = read_rows(spark, config).orderBy("read_problem").collect()
    assert [rows[0][name] for name in ROLES] == ["default", "1", "w", "true", None]
    assert (rows[1]["read_problem"], rows[1]["raw_record"]) == ("malformed_row", '{"task": ')


def test_numbers_become_text_without_a_needless_fraction(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = str(tmp_path / "in")
    spark.sql(
        "SELECT 7L AS `ta.sk`, 1D AS worker, 0.5D AS label, timestamp '2026-01-02 03:04:05' AS at"
    ).write.parquet(path)
    columns = ColumnMapping(task_id="ta.sk", annotated_at="at")
    config = InputConfig(path=path, format="parquet", columns=columns)
    row = read_rows(spark, config).first()
    assert row is not None
    assert [row[name] for name in ROLES[1:]] == [
        "7",
        "1",
        "0.5",
        "2026-01-02T03:04:05.000000Z",
    ]
    assert row["typed_time"] == datetime(2026, 1, 2, 3, 4, 5)


def test_misspelt_columns_are_all_named_with_the_closest(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = str(tmp_path / "in")
    spark.createDataFrame(ROWS, NAMES).write.parquet(path)
    columns = ColumnMapping(task_id="taks", worker_id="annotator")
    config = InputConfig(path=path, format="parquet", columns=columns)
    with pytest.raises(InputError, match=r"no column 'taks'; did you mean 'task'\?.*'annotator'"):
        read_rows(spark, config)


@pytest.mark.parametrize("kind", ["delta", "parquet"])
def test_path_that_does_not_exist_is_named(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    config = InputConfig(path=str(tmp_path / "none"), format=kind)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"none: cannot be read as {kind}"):
        read_rows(spark, config)


def test_truncated_parquet_file_is_one_row_and_the_others_are_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "in dir"
    spark.createDataFrame(ROWS, NAMES).repartition(3).write.parquet(str(path))
    files = sorted(path.glob("*.parquet"))
    broken = files[0]
    lost = spark.read.parquet(str(broken)).count()
    broken.write_bytes(broken.read_bytes()[:-20])
    rows = read_rows(spark, InputConfig(path=str(path), format="parquet")).collect()
    bad = [row for row in rows if row["read_problem"] is not None]
    assert [row["read_problem"] for row in bad] == ["unreadable_file"]
    assert bad[0]["source_file"].endswith(broken.name)
    assert len(rows) - 1 == len(ROWS) - lost
    for file in files:
        file.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="none of its 3 files is readable"):
        read_rows(spark, InputConfig(path=str(path), format="parquet"))
