"""The folder of a run's checkpoints: who gets one, and that nothing of it is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.checkpoints import checkpoint_folder, checkpoints_in
from jobs.steps.lineage import cut_lineage


@pytest.mark.parametrize(
    ("master", "output", "present", "expected"),
    [
        ("spark://host:7077", "/out", None, "/out/_checkpoints/run"),
        ("local-cluster[2,1,1024]", "s3a://b/out", None, "s3a://b/out/_checkpoints/run"),
        ("yarn", "/out", "hdfs://n/given/0a1b", None),  # of spark.checkpoint.dir
        ("yarn", "/out", "/out/_checkpoints/earlier/0a1b", "/out/_checkpoints/run"),
        ("yarn", None, None, None),  # tables in a catalog
        ("local[2]", "/out", None, None),
        ("local", "/out", None, None),
    ],
)
def test_run_makes_a_folder_where_executors_can_be_lost(
    master: str, output: str | None, present: str | None, expected: str | None
) -> None:
    assert checkpoint_folder(master, output, "run", present=present) == expected


@pytest.fixture
def forgetful(spark: SparkSession) -> Iterator[SparkSession]:
    """The session; afterwards it has no folder of checkpoints, as before."""
    yield spark
    context = spark.sparkContext
    assert context._jvm is not None
    nothing = context._jvm.scala.Option.empty()
    getattr(context._jsc.sc(), "checkpointDir_$eq")(nothing)
    assert context.getCheckpointDir() is None


@pytest.mark.parametrize("fails", [False, True])
def test_checkpoints_are_there_while_the_run_lasts(
    forgetful: SparkSession, tmp_path: Path, fails: bool
) -> None:
    folder = tmp_path / "out" / "_checkpoints" / "run"
    (tmp_path / "out" / "table").mkdir(parents=True)

    def run() -> None:
        with checkpoints_in(forgetful, str(folder)):
            assert cut_lineage(forgetful.range(3)).count() == 3
            assert any(path.is_file() for path in folder.rglob("rdd-*/part-*"))
            if fails:
                raise ValueError("in the middle")

    if fails:
        with pytest.raises(ValueError, match="in the middle"):
            run()
    else:
        run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table"]


def test_folder_of_another_run_stays(forgetful: SparkSession, tmp_path: Path) -> None:
    other = tmp_path / "_checkpoints" / "other"
    other.mkdir(parents=True)
    with checkpoints_in(forgetful, str(tmp_path / "_checkpoints" / "run")):
        pass
    assert list((tmp_path / "_checkpoints").iterdir()) == [other]


def test_without_a_folder_nothing_changes(spark: SparkSession) -> None:
    with checkpoints_in(spark, None):
        assert spark.sparkContext.getCheckpointDir() is None
