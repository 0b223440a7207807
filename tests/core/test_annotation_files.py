"""Annotation files: formats, guessed columns, malformed lines."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from crowdfm_core.annotation_files import AnnotationFile, find_columns, read_annotation_file
from crowdfm_core.errors import InputError

HEADER = "task,worker,label\n"


def read(tmp_path: Path, name: str, text: str, **given: str) -> AnnotationFile:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_annotation_file(path, given)


def triples(file: AnnotationFile) -> list[tuple[str, ...]]:
    return list(file.rows[["task", "worker", "label"]].itertuples(index=False, name=None))


def rejected(file: AnnotationFile) -> dict[int, str]:
    return dict(zip(file.rejected["line"], file.rejected["reasons"], strict=True))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (["task", "worker", "label"], ("task", "worker", "label")),
        (["worker", "task", "performer", "label"], ("task", "worker", "label")),
        (["Question ID", "Annotator", "Answer"], ("Question ID", "Annotator", "Answer")),
        (["HITId", "WorkerId", "value"], ("HITId", "WorkerId", "value")),
        # A named label column is preferred to a vague one, wherever it stands.
        (["value", "item", "user", "label"], ("item", "user", "label")),
    ],
)
def test_find_columns_knows_usual_names(header: list[str], expected: tuple[str, ...]) -> None:
    found = find_columns(header, {}, where="answers.csv")
    assert (found["task"], found["worker"], found["label"]) == expected


def test_find_columns_finds_project_and_time() -> None:
    header = ["tasksetId", "taskId", "workerId", "answer", "completeTime"]
    found = find_columns(header, {}, where="answers.csv")
    assert list(found.items()) == [
        ("task", "taskId"),
        ("worker", "workerId"),
        ("label", "answer"),
        ("project", "tasksetId"),
        ("time", "completeTime"),
    ]


def test_find_columns_takes_a_given_column_before_a_known_name() -> None:
    found = find_columns(["task", "worker", "label", "q1"], {"label": "q1"}, where="answers.csv")
    assert found["label"] == "q1"


def test_find_columns_reports_all_problems_and_the_columns_there() -> None:
    with pytest.raises(InputError, match=r"'q9' for task.*hold the label.*'who', 'worker'"):
        find_columns(["who", "worker"], {"task": "q9"}, where="answers.csv")


def test_csv_with_hostile_ids_keeps_them(tmp_path: Path) -> None:
    hostile = ['quote " here', "back`tick", "two\nlines", "'; DROP TABLE x; --", "🦉", "x" * 10_000]
    frame = pd.DataFrame({"task": hostile, "worker": hostile, "label": "1"})
    frame.to_csv(tmp_path / "hostile.csv", index=False)
    file = read_annotation_file(tmp_path / "hostile.csv", {})
    assert list(file.rows["task"]) == hostile
    assert list(file.rows["worker"]) == hostile
    assert file.rejected.empty


def test_csv_rejects_bad_lines_with_number_and_reasons(tmp_path: Path) -> None:
    text = HEADER + "t1,w1,yes\n,w1, \nt2,w1\nt3,w1,no,extra\n\nt4,w1,NA\n"
    file = read(tmp_path, "answers.csv", text)
    assert triples(file) == [("t1", "w1", "yes"), ("t4", "w1", "NA")]  # NA is a label like others
    assert rejected(file) == {
        3: "task is blank; label is blank",
        4: "expected 3 fields, found 2",
        5: "expected 3 fields, found 4",
    }


def test_csv_with_unclosed_quote_loses_one_line_only(tmp_path: Path) -> None:
    text = HEADER + 't1,w1,yes\n"t2,w1,no\nt3,w1,no\nt4,w1,yes\n'
    file = read(tmp_path, "answers.csv", text)
    assert [task for task, _, _ in triples(file)] == ["t1", "t3", "t4"]
    assert list(rejected(file)) == [3]
    assert file.rejected["row"].tolist() == ['"t2,w1,no']


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("semicolons.csv", "task;worker;label\nt1;w1;a, b\n"),
        ("tabs.tsv", "task\tworker\tlabel\nt1\tw1\ta, b\n"),
        ("mark.csv", '\ufefftask,worker,label\r\nt1,w1,"a, b"\r\n'),
    ],
)
def test_delimited_variants_read_alike(tmp_path: Path, name: str, text: str) -> None:
    assert triples(read(tmp_path, name, text)) == [("t1", "w1", "a, b")]


def test_json_lines_of_mixed_types_become_text(tmp_path: Path) -> None:
    lines = [
        '{"task": 1, "worker": "w1", "label": 2.5}',
        '{"task": "t2", "worker": "w1", "label": true}',
        '{"task": "t3", "worker": null, "label": "x"}',
        '{"task": "t4", "label": "x"}',
        '{"task": "t5", "worker": "w',
        '["t6", "w1", "x"]',
    ]
    file = read(tmp_path, "answers.jsonl", "\n".join(lines))
    assert triples(file) == [("1", "w1", "2.5"), ("t2", "w1", "true")]
    assert list(rejected(file)) == [3, 4, 5, 6]
    assert json.loads(file.rejected["row"][1]) == {"task": "t4", "label": "x"}


def test_parquet_numbers_become_text_and_nulls_are_rejected(tmp_path: Path) -> None:
    frame = pd.DataFrame({"task": [1, 2], "worker": ["w1", None], "label": [0, 1]})
    frame.to_parquet(tmp_path / "answers.parquet")
    file = read_annotation_file(tmp_path / "answers.parquet", {})
    assert triples(file) == [("1", "w1", "0")]
    assert rejected(file) == {2: "worker is blank"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("answers.xlsx", b"PK", r"ending in one of .csv"),
        ("empty.csv", b"", "expected a header line"),
        ("latin.csv", "task,worker,label\nt,w,caf\xe9\n".encode("latin-1"), "expected UTF-8"),
        ("cut.parquet", b"PAR1\x15\x04", "cannot be read as Parquet"),
        ("other.csv", b"a,b\n1,2\n", "hold the task.*'a', 'b'"),
    ],
)
def test_file_unusable_as_a_whole_is_an_input_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_annotation_file(tmp_path / name, {})


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read: No such file"):
        read_annotation_file(tmp_path / "none.csv", {})
