"""One line per failure, with the cause and without stack traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from crowdfm_core.errors import WeightsError
from jobs.spark_errors import SPARK_ERRORS, reason_of


def fail(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        raise WeightsError("weights 'x': expected sha256 a, got b")
    yield from ()


def test_error_of_a_python_worker_is_its_own_message(spark: SparkSession, tmp_path: Path) -> None:
    rows = spark.range(2).mapInArrow(fail, "id long")
    expected = "crowdfm_core.errors.WeightsError: weights 'x': expected sha256 a, got b"
    with pytest.raises(SPARK_ERRORS, match="WeightsError") as read:
        rows.count()
    assert reason_of(read.value) == expected
    with pytest.raises(SPARK_ERRORS, match="WeightsError") as written:
        rows.write.format("delta").save(str(tmp_path / "out"))
    assert reason_of(written.value) == expected


def test_error_of_a_query_is_its_first_line(spark: SparkSession) -> None:
    with pytest.raises(SPARK_ERRORS, match="nowhere") as raised:
        spark.sql("SELECT * FROM nowhere")
    reason = reason_of(raised.value)
    assert "`nowhere` cannot be found" in reason
    assert "\n" not in reason


def test_lost_checkpoint_says_what_to_set(spark: SparkSession) -> None:
    context = spark.sparkContext
    assert context._jvm is not None
    before = set(context._jsc.getPersistentRDDs())
    frame = spark.range(4).localCheckpoint()
    blocks = context._jvm.org.apache.spark.SparkEnv.get().blockManager()
    for number in set(context._jsc.getPersistentRDDs()) - before:
        blocks.removeRdd(number)  # as if they had been another executor's
    with pytest.raises(SPARK_ERRORS, match="Checkpoint block") as raised:
        frame.count()
    assert reason_of(raised.value).endswith("to a folder that all executors reach")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(28, "No space left on device"),
            "[Errno 28] No space left on device; what earlier runs published is intact: make room "
            "under spark.local.dir, where Spark shuffles, or under the output, and run again",
        ),
        (ValueError("first\n  second"), "first"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_any_other_error_is_its_first_line_or_its_name(error: Exception, expected: str) -> None:
    assert reason_of(error) == expected
