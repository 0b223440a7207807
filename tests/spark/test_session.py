"""The session factory: Delta works, and GPU settings never make local mode hang."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from crowdfm_core.config import GpuConfig, SparkConfig
from jobs.session import make_session, scoring_profile
from tests.jvm_options import LASTING


def test_session_writes_and_reads_delta(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    spark.range(3).write.format("delta").save(path)
    assert spark.read.format("delta").load(path).count() == 3
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"


def test_java_options_of_the_user_come_after_those_of_local_mode(spark: SparkSession) -> None:
    java = spark.sparkContext._jvm.java.lang.management.ManagementFactory  # type: ignore[union-attr]
    given = list(java.getRuntimeMXBean().getInputArguments())
    ours = given.index("-XX:Tier4InvocationThreshold=50000")
    for option in LASTING.split():
        assert given.index(option) > ours  # of two that differ, Java takes the last


def test_gpu_settings_in_local_mode_are_dropped_with_a_log_line(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    config = SparkConfig(master="local[2]", gpu=GpuConfig())
    session = make_session(config)
    assert "spark.gpu is ignored" in caplog.text
    assert session.conf.get("spark.task.resource.gpu.amount", None) is None
    assert session.range(4).count() == 4  # would wait for ever with them
    assert scoring_profile(config) is None


def test_scoring_profile_asks_for_the_configured_share(spark: SparkSession) -> None:
    gpu = GpuConfig(amount_per_task=0.5, cpus_per_task=2)
    profile = scoring_profile(SparkConfig(master="spark://host:7077", gpu=gpu))
    assert profile is not None
    assert profile.taskResources["gpu"].amount == 0.5
    assert profile.taskResources["cpus"].amount == 2
