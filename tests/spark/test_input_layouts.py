"""Files that differ from one another: each is read by its own header, types and quotes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from crowdfm_core.config import ColumnMapping, InputConfig
from crowdfm_core.errors import InputError
from jobs.inputs import read_rows

HEADER = "task,worker,label\n"
ODD_NAMES = ("a b%20{c}+#=", "b'&$")


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, newline="")
    return folder


def read(
    spark: SparkSession, folder: Path, kind: Literal["csv", "parquet"] = "csv", **more: Any
) -> tuple[list[tuple[str, ...]], list[tuple[str, str | None]]]:
    """Good rows (task, worker, label), and (problem, record) of the others, both sorted."""
    rows = read_rows(spark, InputConfig(path=str(folder), format=kind, **more)).collect()
    good = [
        (row["task_id"], row["worker_id"], row["label"]) for row in rows if not row.read_problem
    ]
    bad = [(row.read_problem, row.raw_record) for row in rows if row.read_problem]
    return sorted(good, key=str), sorted(bad)


def test_csv_files_are_read_by_their_own_headers(spark: SparkSession, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        plain=HEADER + "t1,w1,a\n",
        other_order="worker,label,task\nw2,b,t2\n",
        more_columns="task,worker,note,label\nt3,w3,hello,c\n",
        windows=HEADER.strip() + "\r\nt4,w4,d\r\n",
        lacks_a_column="task,worker\nt5,w5\n",
        quoted=HEADER + 't6,w6,"two\nlines"\n',
    )
    good, bad = read(spark, folder)
    assert good == [
        ("t1", "w1", "a"),
        ("t2", "w2", "b"),
        ("t3", "w3", "c"),
        ("t4", "w4", "d"),
        ("t5", "w5", None),  # to be rejected as missing_label
        ("t6", "w6", "two\nlines"),
    ]
    assert bad == []


def test_csv_quote_that_never_closes_costs_its_line_alone(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        damaged=HEADER + 't1,w1,"a\r\nb"\nt2,"w2,b\nt3,w3,c\n\nt4,w4\nt5,w5,5" nail\n',
        whole=HEADER + 't6,w6,"say ""yes"""\n',
    )
    good, bad = read(spark, folder)
    assert good == [
        ("t1", "w1", "a\r\nb"),
        ("t3", "w3", "c"),
        ("t5", "w5", '5" nail'),
        ("t6", "w6", 'say "yes"'),
    ]
    assert bad == [("malformed_row", 't2,"w2,b'), ("malformed_row", "t4,w4")]


def test_csv_damage_is_found_whichever_columns_are_used(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = write(tmp_path, rows="task,worker,label,note\nt1,w1,a,n\nt2,w2,b\nt3,w3,c,n,m\n")
    rows = read_rows(spark, InputConfig(path=str(folder), format="csv"))
    found = rows.select("task_id", "read_problem").collect()  # needs neither note nor raw_record
    assert {row["task_id"]: row["read_problem"] for row in found} == {
        "t1": None,
        "t2": "malformed_row",
        "t3": "malformed_row",
    }


def test_csv_options_hold_for_joined_lines_too(spark: SparkSession, tmp_path: Path) -> None:
    folder = write(tmp_path, rows='t1|w1|"a\\"b"\nt2|w2|"c\\"\nd"\n')
    columns = ColumnMapping(task_id="_c0", worker_id="_c1", label="_c2")
    options = {"sep": "|", "escape": "\\", "header": "false"}
    good, bad = read(spark, folder, columns=columns, options=options)
    assert good == [("t1", "w1", 'a"b'), ("t2", "w2", 'c"\nd')]
    assert bad == []


@pytest.mark.parametrize("text", [HEADER + "t1,w1,a\n", HEADER + 't1,w1,"a\nb"\n'])
def test_csv_columns_of_folders_stay_text(spark: SparkSession, tmp_path: Path, text: str) -> None:
    for project in ("007", "b c"):
        write(tmp_path / f"project={project}", rows=text)
    columns = ColumnMapping(project_id="project")
    config = InputConfig(path=str(tmp_path), format="csv", columns=columns)
    rows = read_rows(spark, config).collect()
    assert sorted(row["project_id"] for row in rows) == ["007", "b c"]


@pytest.mark.parametrize("text", ["", None])
def test_csv_without_any_text_is_refused(
    spark: SparkSession, tmp_path: Path, text: str | None
) -> None:
    folder = write(tmp_path, **({} if text is None else {"empty": text}))
    with pytest.raises(InputError, match="expected CSV files, found no line of text"):
        read(spark, folder)


def test_csv_of_too_many_layouts_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path, **{f"f{n}": f"t{n},w,a\n" for n in range(101)})
    with pytest.raises(InputError, match="more than 100 different ones"):
        read(spark, tmp_path)


def test_parquet_files_of_different_types_are_all_read(spark: SparkSession, tmp_path: Path) -> None:
    for name, label in {"int": 1, "text": "x", "double": 2.0, "bool": True}.items():
        frame = pd.DataFrame({"task": [name], "worker": ["w"], "label": [label]})
        frame.to_parquet(tmp_path / f"{name}.parquet")
    pd.DataFrame({"task": ["none"], "worker": ["w"]}).to_parquet(tmp_path / "none.parquet")
    (tmp_path / "README.txt").write_text("not Parquet")
    (tmp_path / "_SUCCESS").write_text("")
    good, bad = read(spark, tmp_path, "parquet")
    assert good == [
        ("bool", "w", "true"),
        ("double", "w", "2"),
        ("int", "w", "1"),
        ("none", "w", None),
        ("text", "w", "x"),
    ]
    assert bad == [("unreadable_file", None)]


def test_files_of_odd_names_are_read(spark: SparkSession, tmp_path: Path) -> None:
    first, second = ODD_NAMES
    write(tmp_path / "csv", **{first: HEADER + "t1,w1,a\n", second: HEADER + 't2,w2,"a\nb"\n'})
    (tmp_path / "parquet").mkdir()
    for name, label in zip(ODD_NAMES, ("a", 1), strict=True):
        frame = pd.DataFrame({"task": [name], "worker": ["w"], "label": [label]})
        frame.to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    assert [task for task, _, _ in read(spark, tmp_path / "csv")[0]] == ["t1", "t2"]
    found = [task for task, _, _ in read(spark, tmp_path / "parquet", "parquet")[0]]
    assert sorted(found) == sorted(ODD_NAMES)
