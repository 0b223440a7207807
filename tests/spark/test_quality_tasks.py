"""Quality of tasks and workers, query by query, on literal rows; each row says why it is there."""

from __future__ import annotations

import math

import pytest
from chispa import assert_approx_df_equality, assert_df_equality
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from jobs.sql import run_sql
from jobs.steps.majority_vote import count_votes
from jobs.steps.options import index_options
from jobs.steps.units import UNIT
from tests.spark.answers import plan_of

ANSWERS = "project_id string, task_id string, worker_id string, label string"
VOTES = (
    "project_id string, task_id string, num_annotations bigint, "
    "votes array<struct<label: string, num_votes: bigint>>"
)
LABELS = (
    "project_id string, task_id string, method string, label string, probability double, "
    "runner_up_label string, margin double, entropy double"
)
GOLD = "project_id string, task_id string, true_label string"
JUDGED_ANSWERS = (
    "project_id string, task_id string, worker_id string, answer string, label string, "
    "true_label string, num_task_annotations bigint, num_same bigint"
)
CONFUSIONS = (
    "project_id string, worker_id string, label string, answer string, num_annotations bigint, "
    "num_with_peers bigint, peer_units bigint, num_rare_errors bigint, num_gold bigint, "
    "num_correct bigint"
)


def with_hash(frame: DataFrame) -> DataFrame:
    """The frame as it is arranged by task."""
    return frame.withColumn("task_hash", F.xxhash64("project_id", "task_id"))


def as_nullable(frame: DataFrame) -> StructType:
    """The frame's schema for expected rows, in which anything may be null."""
    return StructType([StructField(field.name, field.dataType) for field in frame.schema])


def same(found: DataFrame, *rows: tuple[object, ...]) -> None:
    """Expect exactly these rows, in any order."""
    expected = found.sparkSession.createDataFrame(list(rows), as_nullable(found))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_votes_are_counted_per_task_and_project(spark: SparkSession) -> None:
    answers = [
        ("p", "t", "1", "b"),
        ("p", "t", "2", "a"),
        ("p", "t", "3", "b"),
        ("p", "u", "1", "a"),  # as often a as b, but b is answered more often in p
        ("p", "u", "2", "b"),
        ("p", "v", "1", "b"),  # the same votes, in another order
        ("p", "v", "2", "a"),
        ("q", "t", "1", "c"),  # the same task_id in another project
    ]
    annotations = with_hash(spark.createDataFrame(answers, ANSWERS))
    votes = count_votes(
        annotations.withColumn("component_id", F.lit("c")), index_options(annotations)
    )
    votes = votes.drop("task_hash", "component_id", "entropy")
    one_each = [("b", 1), ("a", 1)]
    same(
        votes,
        ("p", "t", 3, [("b", 2), ("a", 1)]),
        ("p", "u", 2, one_each),
        ("p", "v", 2, one_each),
        ("q", "t", 1, [("c", 1)]),
    )
    patterns = run_sql("quality_vote_patterns", tasks=votes)
    same(
        patterns,
        ("p", [("b", 2), ("a", 1)], 3, 1),
        ("p", one_each, 2, 2),
        ("q", [("c", 1)], 1, 1),
    )


def test_tasks_compare_the_reference_with_the_other_methods(spark: SparkSession) -> None:
    names = ("agreed", "split", "bare", "mute")
    votes = [("p", name, 2, [("a", 1), ("b", 1)], 0.7) for name in names]
    labels = [
        ("p", "agreed", "m", "a", 0.9, "b", 0.8, 0.3),
        ("p", "agreed", "n", "a", 0.7, "b", 0.4, 0.6),
        ("p", "split", "m", "a", 0.6, "b", 0.2, 0.7),
        ("p", "split", "n", "b", 0.7, "a", 0.5, 0.6),  # gives the reference's label 0.7 - 0.5
        ("p", "split", "o", "c", 0.8, "d", 0.7, 0.5),  # does not list it: 0
        ("p", "split", "r", "b", None, None, None, None),  # no probabilities: 0
        ("p", "bare", "m", "a", None, None, None, None),  # no probabilities, same label: 1
        ("p", "bare", "n", "a", 0.5, "b", 0.0, 0.7),
        ("p", "mute", "n", "a", 0.5, "b", 0.0, 0.7),  # the reference abstains
        ("q", "agreed", "m", "b", 0.5, "a", 0.0, 0.7),  # another project
    ]
    tasks = run_sql(
        "quality_tasks",
        {"reference": "m", "unit": UNIT},
        votes=with_hash(spark.createDataFrame(votes, f"{VOTES}, entropy double")),
        labels=with_hash(spark.createDataFrame(labels, LABELS)),
        gold=spark.createDataFrame([("p", "split", "c"), ("p", "none", "c")], GOLD),
    ).drop("task_hash", "num_annotations", "votes", "project_id")
    assert {row["vote_entropy"] for row in tasks.collect()} == {0.7}
    tasks = tasks.drop("vote_entropy")
    expected = spark.createDataFrame(
        [
            ("agreed", "a", 0.9, 0.3, None, 2, 0, [], 0.8),
            ("split", "a", 0.6, 0.7, "c", 4, 5, ["n", "o", "r"], 0.2),
            ("bare", "a", None, None, None, 2, 0, [], 0.75),
            ("mute", None, None, None, None, 1, 0, [], None),
        ],
        as_nullable(tasks),
    )
    assert_approx_df_equality(tasks, expected, 1e-12, ignore_row_order=True, ignore_nullable=True)


def test_findings_are_of_tasks_that_are_worth_a_look(spark: SparkSession) -> None:
    schema = (
        f"{VOTES}, vote_entropy double, label string, support double, num_methods int, "
        "num_differing_pairs int, dissenting_methods array<string>"
    )
    rows = [
        ("p", "clear", 5, [("a", 4), ("b", 1)], 0.5, "a", 0.9, 2, 0, []),
        ("p", "close", 5, [("a", 3), ("b", 2)], 0.6, "a", 0.9, 2, 0, []),  # a fifth apart
        ("p", "two", 2, [("a", 1), ("b", 1)], 0.7, "a", 0.5, 2, 0, []),  # too few to be ambiguous
        ("p", "weak", 3, [("a", 3)], 0.0, "a", 0.4, 1, 0, []),  # the methods doubt the label
        ("p", "split", 3, [("a", 3)], 0.0, "a", 0.6, 3, 2, ["n"]),
        ("p", "mute", 3, [("a", 3)], 0.0, None, None, 0, 0, []),  # no label, no doubt
    ]
    found = run_sql(
        "quality_task_findings", {"reference": "m"}, tasks=spark.createDataFrame(rows, schema)
    )
    by_task = {row["task_id"]: row for row in found.collect()}
    assert {
        task: (row["is_ambiguous"], row["is_likely_mislabelled"]) for task, row in by_task.items()
    } == {"close": (True, False), "weak": (False, True), "split": (False, False)}
    assert by_task["close"]["vote_margin"] == pytest.approx(0.2)
    assert by_task["close"]["vote_entropy"] == 0.6
    assert by_task["split"]["method_disagreement"] == pytest.approx(2 / 3)
    assert by_task["weak"]["method_disagreement"] is None  # of one method


def test_answers_meet_their_task_and_are_counted_per_worker(spark: SparkSession) -> None:
    tasks = spark.createDataFrame(
        [
            ("p", "t", 3, [("a", 1), ("b", 2)], "b", "a"),
            ("p", "u", 1, [("a", 1)], None, None),  # nobody else, and no label
        ],
        f"{VOTES}, label string, true_label string",
    )
    rows = [("p", "t", "1", "b"), ("p", "t", "2", "a"), ("p", "t", "3", "b"), ("p", "u", "1", "a")]
    annotations = with_hash(spark.createDataFrame(rows, ANSWERS))
    answers = run_sql("quality_answers", annotations=annotations, tasks=with_hash(tasks))
    same(
        answers.drop("task_hash"),
        ("p", "t", "1", "b", "b", "a", 3, 2),
        ("p", "t", "2", "a", "b", "a", 3, 1),
        ("p", "t", "3", "b", "b", "a", 3, 2),
        ("p", "u", "1", "a", None, None, 1, 1),
    )
    confusions = run_sql("quality_confusions", {"unit": 720, "max_alike": 5}, answers=answers)
    same(
        confusions.drop("worker_hash"),
        ("p", "1", "b", "b", 1, 1, 360, 0, 1, 0),  # one of two others gave the same answer
        ("p", "1", None, "a", 1, 0, 0, 0, 0, 0),
        ("p", "2", "b", "a", 1, 1, 0, 1, 1, 1),  # an error by the label, right by the truth
        ("p", "3", "b", "b", 1, 1, 360, 0, 1, 0),
    )


def test_shared_errors_find_who_makes_the_same_mistakes(spark: SparkSession) -> None:
    def answers(task: str, *given: str) -> list[tuple[object, ...]]:
        return [
            ("p", task, str(worker), answer, "a", None, len(given), given.count(answer))
            for worker, answer in enumerate(given)
        ]

    rows = [
        *answers("t1", "b", "b", "a", "c"),  # 0 and 1 alike, 3 alone
        *answers("t2", "c", "c", "c", "a"),  # 0, 1 and 2 alike
        *answers("t3", "a", "a", "a", "a"),  # right answers say nothing
        *answers("t4", "b", "b", "b", "b"),  # what all choose says nothing either
    ]
    judged = with_hash(spark.createDataFrame(rows, JUDGED_ANSWERS))
    alike = run_sql("quality_most_alike", {"max_alike": 3}, answers=judged)
    found = run_sql(
        "quality_shared_errors",
        {"max_alike": 3, "unit": 9000},
        answers=judged,
        most_alike=alike,
        suspected=alike.where("num_shared_errors >= 2"),
    )
    # Of the other three workers one gave the same answer to t1, and two to t2.
    common = (2, 3000 + 6000, 2000 + 2000)
    nothing = (None, None, None)  # too few
    same(
        found,
        ("p", "0", "1", 2, *common),
        ("p", "1", "0", 2, *common),
        ("p", "2", "0", 1, *nothing),
    )


def test_speed_is_the_median_interval_without_pauses(spark: SparkSession) -> None:
    seconds: dict[tuple[str, str], list[int | None]] = {
        ("p", "quick"): [0, 2, 4, 10, 9_000, 9_004],
        ("q", "quick"): [1],  # another worker, though of the same name
        ("p", "slow"): [100, 70, 10, 9_000, 9_000],  # not in the order of time, and two at once
        ("p", "patient"): [50, 54, 3_654],  # as long as is no pause
        ("p", "paused"): [0, 3_601],
        ("p", "never"): [None, None],
        ("p", "early"): [-5, 9, 1],  # before 1970
    }
    rows = [(*worker, second) for worker, of in seconds.items() for second in of]
    answers = spark.createDataFrame(rows, "project_id string, worker_id string, at bigint")
    answers = answers.select(
        "project_id", "worker_id", F.timestamp_seconds("at").alias("annotated_at")
    )
    found = run_sql("quality_speed", {"max_seconds": 3_600}, annotations=answers)
    expected = spark.createDataFrame(
        [
            ("p", "quick", 4, 3.0),  # 2, 2, 6 and, after the pause, 4
            ("p", "slow", 3, 30.0),  # 60, 30 and 0
            ("p", "patient", 2, 1802.0),  # 4 and 3,600
            ("p", "early", 2, 7.0),  # 6 and 8
        ],
        "project_id string, worker_id string, num_intervals bigint, median_seconds double",
    ).select(
        F.xxhash64("project_id", "worker_id").alias("worker_hash"),
        F.xxhash64("worker_id", "project_id").alias("other_hash"),
        "num_intervals",
        "median_seconds",
    )
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
    sorts = [line.count("ASC") for line in plan_of(found).splitlines() if "Sort [" in line]
    assert sorts == [3, 1]  # by one number first, which the optimizer has not taken for useless


def workers(spark: SparkSession, *cells: tuple[object, ...]) -> dict[str, Row]:
    """quality_workers.sql from confusions; "copy" shares 6 of 8 errors with x, and is timed; others
    share as many of more, as few as by chance, or too few."""
    confusions = spark.createDataFrame(list(cells), CONFUSIONS).withColumn(
        "worker_hash", F.xxhash64("project_id", "worker_id")
    )
    found = run_sql(
        "quality_workers",
        {"reference": "m", "unit": UNIT, "prior": 10, "few": 10, "max_cells": 2},
        measures=run_sql("quality_worker_measures", {"unit": UNIT}, confusions=confusions),
        shared_errors=spark.createDataFrame(
            [
                ("p", "copy", "x", 6, 8, UNIT, UNIT),  # 1 is expected, with a deviation of 1
                ("p", "fair", "x", 6, 12, UNIT, UNIT),
                ("p", "random", "x", 6, 8, 3 * UNIT, UNIT),  # 3 more than expected
                ("p", "good", "x", 1, None, None, None),
            ],
            "project_id string, worker_id string, most_alike_worker_id string, num_shared_errors "
            "bigint, num_common_errors bigint, chance_units bigint, variance_units bigint",
        ),
        speeds=spark.sql(
            "SELECT xxhash64('p', 'copy') AS worker_hash, xxhash64('copy', 'p') AS other_hash, "
            "9L AS num_intervals, 2.5D AS median_seconds"
        ),
    )
    return {row["worker_id"]: row for row in found.collect()}


def test_workers_are_scored_by_their_confusion_matrix(spark: SparkSession) -> None:
    def cell(worker: str, label: str | None, answer: str, number: int) -> tuple[object, ...]:
        errors = number if label not in (None, answer) else 0
        return "p", worker, label, answer, number, number, number * UNIT // 2, errors, 0, 0

    found = workers(
        spark,
        cell("good", "a", "a", 10),
        cell("good", "b", "b", 10),
        cell("fair", "a", "a", 8),
        cell("fair", "a", "b", 2),
        cell("fair", "b", "a", 4),
        cell("fair", "b", "b", 6),
        cell("random", "a", "a", 5),
        cell("random", "a", "b", 5),
        cell("random", "b", "a", 5),
        cell("random", "b", "b", 5),
        cell("constant", "a", "a", 10),
        cell("constant", "b", "a", 10),
        cell("simple", "a", "a", 20),  # one answer, but the right one
        cell("few", "a", "b", 1),
        cell("few", "b", "b", 1),
        cell("copy", "a", "b", 8),
        cell("copy", "b", "b", 8),
        cell("mute", None, "b", 12),  # no label to judge by
    )
    # Half the squared distance of the two rows: (0.8, 0.2) and (0.4, 0.6).
    spam = {"good": 1, "fair": 0.16, "random": 0, "constant": 0, "few": 0, "copy": 0}
    # Two rows of ten answers, drawn with 0.6 and 0.4: 0.48 / 10.
    by_chance = {"good": 0.05, "fair": 0.048, "random": 0.05, "constant": 0, "copy": 0}
    for worker, score in by_chance.items():
        assert found[worker]["spam_score_by_chance"] == pytest.approx(score, abs=1e-9)
    trace = {"good": 1, "fair": 0.7, "random": 0.5, "constant": 0.5, "simple": 1}
    for worker, score in spam.items():
        assert found[worker]["spam_score"] == pytest.approx(score, abs=1e-9)
    for worker, mean in trace.items():
        assert found[worker]["confusion_trace"] == pytest.approx(mean)
    assert found["simple"]["spam_score"] is None  # no two rows to compare
    assert found["mute"]["agreement_with_aggregate"] is None

    def who(flag: str) -> set[str]:
        return {worker for worker, row in found.items() if row[flag]}

    assert who("is_spam_suspect") == {"random", "constant", "copy"}
    assert who("is_constant_suspect") == {"constant", "copy"}
    assert who("is_copy_suspect") == {"copy"}
    assert who("has_few_annotations") == {"few"}
    fair = found["fair"]
    assert fair["agreement_with_aggregate"] == pytest.approx(0.7)
    # 83 of the 118 labelled answers of the project agree.
    assert fair["agreement_shrunk"] == pytest.approx((14 + 10 * 83 / 118) / 30)
    assert fair["agreement_with_peers"] == pytest.approx(0.5)
    assert fair["answer_entropy"] == pytest.approx(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    assert (fair["top_answer"], fair["top_answer_share"]) == ("a", pytest.approx(0.6))
    # The most frequent cells only.
    assert [tuple(c) for c in fair["confusion"]] == [("a", "a", 8), ("b", "b", 6)]
    copy = found["copy"]
    assert (copy["num_rare_errors"], copy["num_shared_by_chance"]) == (8, 1.0)
    assert (copy["num_common_errors"], copy["shared_error_share"]) == (8, pytest.approx(0.75))
    assert (copy["most_alike_worker_id"], copy["median_seconds"]) == ("x", 2.5)
    assert (found["mute"]["num_shared_errors"], fair["num_intervals"]) == (0, 0)


def test_spam_score_of_many_options_equals_the_published_formula(spark: SparkSession) -> None:
    counts = [[6, 2, 0], [1, 7, 2], [3, 3, 4]]
    cells = [
        ("p", "w", str(label), str(answer), number, number, 0, 0, number, 0)
        for label, row in enumerate(counts)
        for answer, number in enumerate(row)
        if number
    ]
    shares = [[number / sum(row) for number in row] for row in counts]
    distance = sum(
        (shares[c][k] - shares[d][k]) ** 2 for c in range(3) for d in range(c) for k in range(3)
    )
    assert workers(spark, *cells)["w"]["spam_score"] == pytest.approx(distance / 6, abs=1e-9)
