"""Rejection reasons and the duplicate rule."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.steps.annotations import (
    MAX_ID_CHARACTERS,
    conflicting,
    parse_times,
    resolve_duplicates,
    split_annotations,
)
from tests.spark.answers import plan_of

RAW = """
project_id string, task_id string, worker_id string, label string, annotated_at string,
typed_time timestamp, read_problem string
"""
VALID = "project_id string, task_id string, worker_id string, label string, annotated_at timestamp"


def test_rejected_rows_name_everything_that_is_wrong_with_them(spark: SparkSession) -> None:
    rows: list[tuple[tuple[str | None, ...], list[str]]] = [
        (("p", "t", "w", "a", "2026-01-02T03:04:05Z"), []),  # nothing wrong
        (("p", "t", "w", "a", None), []),  # a time is optional
        (("p", "a\"`\n'; DROP TABLE x --", "\U0001f600", "a", ""), []),  # odd ids are legal
        (
            (None, "t", " \t\u00a0\u3000", "", None),
            ["missing_project_id", "missing_worker_id", "missing_label"],
        ),
        (("p", "x" * (MAX_ID_CHARACTERS + 1), "w", "a", None), ["task_id_too_long"]),
        (("p", "x" * MAX_ID_CHARACTERS, "w", "a", None), []),  # the longest that is taken
        (("p", "t", "w", "a", "yesterday"), ["invalid_annotated_at"]),
    ]
    read: list[tuple[Any, ...]] = [(*row, None, None) for row, _ in rows]
    read.append((None,) * 6 + ("unreadable_file",))  # one reason is enough
    expected = [reasons for _, reasons in rows if reasons] + [["unreadable_file"]]
    good, rejected = split_annotations(spark.createDataFrame(read, RAW))
    found = rejected.collect()
    assert [row["reasons"] for row in found] == expected
    assert found[2]["annotated_at"] == "yesterday"  # as it came
    parsed = parse_times(good).collect()
    assert len(parsed) == 4
    assert parsed[0]["annotated_at"] == datetime(2026, 1, 2, 3, 4, 5)
    assert parsed[2]["task_id"] == rows[2][0][1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05+01:00", datetime(2026, 1, 2, 2, 4, 5)),
        ("2026-01-02 03:04", datetime(2026, 1, 2, 3, 4)),
        ("1767323045", datetime(2026, 1, 2, 3, 4, 5)),  # seconds
        ("1767323045.25", datetime(2026, 1, 2, 3, 4, 5, 250_000)),
        ("1767323045678", datetime(2026, 1, 2, 3, 4, 5, 678_000)),  # milliseconds
        ("17673230456", None),
        ("2026-02-30", None),
    ],
)
def test_time_is_read_as_iso_8601_or_as_a_number_since_1970(
    spark: SparkSession, text: str, expected: datetime | None
) -> None:
    rows = spark.createDataFrame([("p", "t", "w", "a", text, None, None)], RAW)
    good, rejected = split_annotations(rows)
    assert [row["annotated_at"] for row in parse_times(good).collect()] == (
        [] if expected is None else [expected]
    )
    assert [row["reasons"] for row in rejected.collect()] == (
        [["invalid_annotated_at"]] if expected is None else []
    )


def test_time_that_came_as_one_is_taken_as_it_is(spark: SparkSession) -> None:
    """Also one that text cannot say."""
    rows = spark.sql(
        "SELECT 'p' AS project_id, 't' AS task_id, 'w' AS worker_id, 'a' AS label, 'far' AS "
        "annotated_at, timestamp_seconds(400000000000) AS typed_time, "
        "CAST(NULL AS STRING) AS read_problem"
    )
    good, rejected = split_annotations(rows)
    assert rejected.count() == 0
    times = parse_times(good).selectExpr("unix_seconds(annotated_at) AS seconds").collect()
    assert [row["seconds"] for row in times] == [400_000_000_000]


def test_text_of_a_good_row_is_parsed_once_as_a_time(spark: SparkSession) -> None:
    """Not once to see whether it is one, and again for its value."""
    good, _ = split_annotations(spark.createDataFrame([], RAW))
    assert plan_of(parse_times(good)).count("annotated_at#") > 0
    assert plan_of(parse_times(good)).count(" as timestamp)") == 1


def test_conflicting_answers_are_rejected_with_all_their_rows(spark: SparkSession) -> None:
    rows = [
        ("p", "t", "w", "a", None, None, None),  # differs from the next
        ("p", "t", "w", "b", None, None, None),
        ("p", "t2", "w", "a", None, None, None),  # repeated, but the same
        ("p", "t2", "w", "a", None, None, None),
    ]
    good, _ = split_annotations(spark.createDataFrame(rows, RAW))
    found = conflicting(good).collect()
    assert sorted(row["label"] for row in found) == ["a", "b"]
    assert {tuple(row["reasons"]) for row in found} == {("conflicting_answers",)}


def test_duplicates_are_resolved_in_one_pass_over_sorted_rows(spark: SparkSession) -> None:
    """Spark plans two without a certain setting and a certain kind of aggregate."""
    valid = spark.createDataFrame([("p", "t", "w", "a", None)], VALID)
    assert plan_of(resolve_duplicates(valid, "latest")).count("Aggregate(") == 1


def time(day: int | None) -> datetime | None:
    return None if day is None else datetime(2026, 1, day)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "latest",
            {
                "one": ("a", 0),
                "two": ("b", 1),
                "same": ("a", 1),
                "none": ("a", 1),
                "half": ("b", 1),
            },
        ),
        (
            "first",
            {
                "one": ("a", 0),
                "two": ("a", 1),
                "same": ("a", 1),
                "none": ("a", 1),
                "half": ("b", 1),
            },
        ),
        ("reject", {"one": ("a", 0), "same": ("a", 1)}),
    ],
)
def test_resolve_duplicates_keeps_one_row_by_the_rule_in_any_order(
    spark: SparkSession, rule: str, expected: dict[str, tuple[str, int]]
) -> None:
    rows = [
        ("p", "one", "w", "a", time(1)),  # no duplicate
        ("p", "two", "w", "a", time(1)),  # changed later
        ("p", "two", "w", "b", time(2)),
        ("p", "same", "w", "a", None),  # repeated
        ("p", "same", "w", "a", None),
        ("p", "none", "w", "b", None),  # differ without times: the smaller label
        ("p", "none", "w", "a", None),
        ("p", "half", "w", "b", time(1)),  # a time goes before none
        ("p", "half", "w", "a", None),
    ]
    for seed in (1, 2):
        random.Random(seed).shuffle(rows)
        kept = resolve_duplicates(spark.createDataFrame(rows, VALID), rule).collect()  # type: ignore[arg-type]
        assert {row["task_id"]: (row["label"], row["num_duplicates"]) for row in kept} == expected
