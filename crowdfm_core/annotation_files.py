"""Annotations from one file: format by suffix, columns by well-known names, bad rows set aside."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crowdfm_core.csv_records import csv_fields, join_lines
from crowdfm_core.errors import InputError

__all__ = ["ROLES", "SUFFIXES", "AnnotationFile", "find_columns", "read_annotation_file"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

# Role -> names in order of preference, lower case and without all but letters and digits. Taken
# from files of crowdsourcing platforms, annotation tools and published label sets.
_WELL_KNOWN: dict[str, tuple[str, ...]] = {
    "task": (
        *("taskid", "task", "itemid", "item", "questionid", "question", "exampleid", "example"),
        *("hitid", "unitid", "unit", "objectid", "object", "documentid", "document", "docid"),
        *("imageid", "image", "instanceid", "instance", "taskhash", "inputhash", "origid"),
    ),
    "worker": (
        *("workerid", "worker", "annotatorid", "annotator", "performerid", "performer"),
        *("assignmentworkerid", "raterid", "rater", "labelerid", "labeler", "labellerid"),
        *("labeller", "userid", "user", "completedby", "judgeid", "judge", "coderid", "coder"),
        *("contributorid", "contributor", "amtworkerids"),
    ),
    "label": (
        *("label", "answer", "response", "judgment", "judgement", "annotation", "value"),
        *("rating", "choice", "vote", "category", "class"),
    ),
    "project": ("projectid", "project", "tasksetid", "taskset", "dataset", "campaign"),
    "time": (
        *("annotatedat", "answeredat", "submittedat", "submittime", "completetime"),
        *("completedat", "updatedat", "createdat", "timestamp", "time"),
    ),
}
ROLES = tuple(_WELL_KNOWN)
_REQUIRED = ("task", "worker", "label")


@dataclass
class AnnotationFile:
    """What a file holds.

    rows: one row per usable line, in file order; columns task, worker, label (text, never blank)
    and, where the file has them, project (text) and time (text, None where missing).
    rejected: one row per unusable line; columns line (1-based; the row for Parquet), reasons
    (joined by "; ") and row (its content as text).
    columns: role -> the column that was taken for it.
    """

    rows: pd.DataFrame
    rejected: pd.DataFrame
    columns: dict[str, str]


@dataclass
class _Collected:
    """Rows on their way into an AnnotationFile."""

    roles: list[str]
    usable: list[tuple[str | None, ...]] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, line: int, values: Iterable[Any], content: Any) -> None:
        """Keep one row, values in the order of `roles`, or reject it with all its reasons."""
        texts = tuple(_text(value) for value in values)
        reasons = [
            f"{role} is blank"
            for role, text in zip(self.roles, texts, strict=True)
            if role != "time" and (text is None or not text.strip())
        ]
        if reasons:
            self.reject(line, "; ".join(reasons), content)
        else:
            self.usable.append(texts)

    def reject(self, line: int, reason: str, content: Any) -> None:
        """Set one row aside; content that is not text is written as JSON."""
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        self.rejected.append((line, reason, text))

    def finish(self, columns: dict[str, str]) -> AnnotationFile:
        """Build the frames."""
        rows = pd.DataFrame(self.usable, columns=self.roles, dtype=object)
        rejected = pd.DataFrame(self.rejected, columns=["line", "reasons", "row"])
        return AnnotationFile(rows, rejected, columns)


def read_annotation_file(path: Path, columns: Mapping[str, str]) -> AnnotationFile:
    """Read a .csv, .tsv, .jsonl or .parquet file whose columns are found as by `find_columns`.

    Raises InputError if the file is missing, of another format, unreadable as a whole, or lacks a
    task, worker or label column.
    """
    readers = {".csv": _read_delimited, ".tsv": _read_delimited}
    readers |= {".jsonl": _read_json_lines, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        known = ", ".join(SUFFIXES)
        raise InputError(f"{path}: expected a file name ending in one of {known}")
    try:
        return readers[path.suffix.lower()](path, columns)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text; byte {error.start} is not") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def find_columns(present: list[str], given: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Return role -> column, for those of `ROLES` that are there.

    given: columns that the user named; the others are found by well-known names, compared without
    case, spaces and punctuation. Raises InputError if a given column is not there or no column is
    known for task, worker or label; it names the columns that are there.
    """
    problems = [
        f"column {column!r} for {role} is not there"
        for role, column in given.items()
        if column not in present
    ]
    found = dict(given)
    for role, names in _WELL_KNOWN.items():
        free = {_plain(column): column for column in reversed(present)}
        matches = [
            free[name] for name in names if name in free and free[name] not in found.values()
        ]
        if role not in found and matches:
            found[role] = matches[0]
        elif role not in found and role in _REQUIRED:
            problems.append(f"no column is known to hold the {role}; name it with --{role}")
    if problems:
        listed = ", ".join(map(repr, present)) or "none"
        raise InputError(f"{where}: {'; '.join(problems)}. Columns there: {listed}")
    return {role: found[role] for role in ROLES if role in found}


def _read_delimited(path: Path, given: Mapping[str, str]) -> AnnotationFile:
    with path.open(encoding="utf-8-sig", newline="") as file:  # line ends inside quotes are kept
        lines = file.readlines()
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter("".join(lines[:1]))
    records = _records(lines, delimiter)
    _, header, _ = next(records, (0, "it is empty", ""))
    if isinstance(header, str):
        raise InputError(f"{path}: expected a header line that names the columns: {header}")
    columns = find_columns(header, given, where=str(path))
    places = [header.index(column) for column in columns.values()]
    collected = _Collected(list(columns))
    for line, record, text in records:
        if isinstance(record, str):
            collected.reject(line, record, text)
        elif len(record) != len(header):
            reason = f"expected {len(header)} fields, found {len(record)}"
            collected.reject(line, reason, text)
        else:
            collected.add(line, [record[place] for place in places], text)
    return collected.finish(columns)


def _delimiter(header: str) -> str:
    """Comma, or the semicolon or tab of a header that has no comma."""
    return next((mark for mark in ",;\t" if mark in header), ",")


def _records(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str] | str, str]]:
    """Yield (line number, fields, text) per record; fields are a reason if it cannot be read."""
    for line, text, intact in join_lines(lines, delimiter=delimiter):
        stripped = text.rstrip("\r\n")
        if not intact:
            yield line, "malformed line: a quote is never closed", stripped
            continue
        try:
            fields = csv_fields(text, delimiter=delimiter)
        except csv.Error as error:
            yield line, f"malformed line: {error}", stripped
        else:
            if fields:
                yield line, fields, stripped


def _read_json_lines(path: Path, given: Mapping[str, str]) -> AnnotationFile:
    objects: list[tuple[int, dict[str, Any]]] = []
    broken: list[tuple[int, str, str]] = []
    with path.open(encoding="utf-8-sig") as lines:
        for line, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except json.JSONDecodeError as error:
                broken.append((line, f"malformed JSON: {error.msg}", text.rstrip("\n")))
                continue
            if isinstance(value, dict):
                objects.append((line, value))
            else:
                broken.append((line, "expected a JSON object", text.rstrip("\n")))
    present = list(dict.fromkeys(name for _, value in objects for name in value))
    columns = find_columns(present, given, where=str(path))
    collected = _Collected(list(columns), rejected=broken)
    for line, value in objects:
        collected.add(line, [value.get(column) for column in columns.values()], value)
    collected.rejected.sort()
    return collected.finish(columns)


def _read_parquet(path: Path, given: Mapping[str, str]) -> AnnotationFile:
    try:
        file = pq.ParquetFile(path)
        columns = find_columns(file.schema_arrow.names, given, where=str(path))
        table = file.read(columns=list(columns.values()))
        values = [_as_text(table[column]).to_pylist() for column in columns.values()]
    except pa.ArrowException as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    collected = _Collected(list(columns))
    for row, texts in enumerate(zip(*values, strict=True), start=1):
        collected.add(row, texts, dict(zip(columns.values(), texts, strict=True)))
    return collected.finish(columns)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_nested(kind):
        raise InputError(f"expected plain values in the columns that are used, found {kind}")
    return column.cast(kind).cast(pa.string())


def _text(value: Any) -> str | None:
    """Text of one value: numbers and truth values as JSON writes them, None for null."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
