"""A night on a real Standalone cluster whose executors are lost twice: GPUs, equal tables."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyspark
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession

from crowdfm_core.blocks.program import supersteps
from crowdfm_core.weights import load_weights
from jobs.run import run_nightly
from jobs.schemas import QUALITY_TABLES, TABLES
from tests.cluster.event_log import DEFAULT_PROFILE, count_stages, read_stages, task_requests
from tests.cluster.standalone import LOOPBACK_CONF, StandaloneCluster, standalone_cluster
from tests.jvm_options import SHORT_LIVED
from tests.project.test_conf import DELTA
from tests.spark.delta_tables import config_of
from tests.spark.shallow_weights import save_shallow_weights

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = ("3", "7")  # of two GPUs that are only said to be there
_RUN_SECONDS = 900.0  # of one run on a busy machine; about 60 on an idle one
VOLATILE = ["ingested_at", "updated_at", "run_id"]
COMPARED = (
    *("annotations", "components", "aggregated_labels", "worker_scores"),
    *(table.name for table in QUALITY_TABLES),
)


@dataclass(frozen=True)
class Finished:
    """One run of the command in a process of its own, as a scheduler starts it."""

    folder: Path
    returncode: int
    log: str  # both streams: spark-submit sends the errors of Python to stdout


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six projects of 200 annotations, so that a budget of 200 makes six batches, and one of 600,
    so that blocks of at most 300 make two; and a model with few stages."""
    rng = np.random.default_rng(7)
    rows = [
        (f"p{project}", f"t{task}", f"w{worker}", f"o{rng.integers(0, 3)}")
        for project, tasks in enumerate([50, 50, 50, 50, 50, 50, 150])
        for task in range(tasks)
        for worker in rng.choice(12, 4, replace=False)
    ]
    folder = tmp_path_factory.mktemp("lake")
    frame = pd.DataFrame(rows, columns=["project", "task", "worker", "label"])
    for name in ("answers", "weights"):
        (folder / name).mkdir()
    frame.to_parquet(folder / "answers" / "answers.parquet")
    assert parquet.read_metadata(folder / "answers" / "answers.parquet").num_rows == 1800
    save_shallow_weights(folder / "weights")
    return folder


@pytest.fixture(scope="module")
def local_tables(spark: SparkSession, lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the run on the cluster has to equal: a run in this process."""
    folder = tmp_path_factory.mktemp("local")
    run_nightly(config_of(folder, _settings(lake, folder, {"master": "local[2]"})))
    return folder / "out"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("cluster")
    with standalone_cluster(folder, gpu_addresses=ADDRESSES, cores_per_worker=2) as running:
        yield running


def _settings(lake: Path, folder: Path, spark: dict[str, Any]) -> dict[str, Any]:
    return {
        "input": {
            "path": str(lake / "answers"),
            "format": "parquet",
            "columns": {"project_id": "project"},
        },
        "output": {"path": str(folder / "out")},
        "model": {"weights": str(lake / "weights")},
        "scoring": {
            "max_annotations_per_batch": 200,
            "max_annotations_per_block": 300,
            "block_exchange": "shuffle",
        },
        "spark": spark,
    }


def _with_gpus(folder: Path) -> dict[str, Any]:
    """How Spark runs where spark-submit alone knows the master, with a log of its events."""
    (folder / "events").mkdir()
    conf = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": (folder / "events").as_uri(),
        **LOOPBACK_CONF,
        # Plans written out in full make a log of a hundred megabytes.
        "spark.sql.ui.explainMode": "simple",
        "spark.sql.maxPlanStringLength": "1000",
        "spark.databricks.delta.snapshotPartitions": "2",
    }
    return {"gpu": {"amount_per_executor": 1, "amount_per_task": 1.0}, "conf": conf}


def _start(lake: Path, folder: Path, master: str, *options: str) -> subprocess.Popen[str]:
    """Run the job through spark-submit."""
    config_of(folder, _settings(lake, folder, _with_gpus(folder)))
    spark_submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    command = [str(spark_submit), "--master", master, "--packages", DELTA]
    command += ["--driver-java-options", SHORT_LIVED]
    command += [str(ROOT / "jobs" / "nightly.py"), "--conf", str(folder / "job.yaml"), *options]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,  # with the JVM and the Python under it
        )


def _finish(process: subprocess.Popen[str], folder: Path) -> Finished:
    try:
        returncode = process.wait(_RUN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Finished(folder, returncode, (folder / "log").read_text())


def _assert_equal_tables(spark: SparkSession, one: Path, other: Path) -> None:
    """Compare all columns but the volatile ones."""
    for table in COMPARED:
        left, right = (
            spark.read.format("delta")
            .load(str(folder / table))
            .toPandas()
            .drop(columns=VOLATILE, errors="ignore")
            .sort_values([name for name in TABLES[table].key if name not in VOLATILE])
            .reset_index(drop=True)
            for folder in (one, other)
        )
        assert len(left), table
        pd.testing.assert_frame_equal(left, right, atol=1e-4, rtol=0, obj=table)


@pytest.fixture(scope="module")
def cluster_run(
    lake: Path,
    cluster: StandaloneCluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """A run that loses all executors between two layers, and again while quality is measured."""
    folder = tmp_path_factory.mktemp("run")
    process = _start(lake, folder, cluster.master_url)
    events, checkpoints = folder / "events", folder / "out" / "_checkpoints"
    in_all = len(supersteps(load_weights(str(lake / "weights")).config))
    _wait_until_logged(folder / "log", f": superstep 4 of {in_all}", process)
    _kill(_executors(cluster))  # with all that the next superstep would read
    _wait_until_logged(folder / "log", ": quality ...", process)
    with_repeated = _num_supersteps(events)
    assert with_repeated > in_all  # those that were done ran again
    before = len(list(checkpoints.glob("*/*/rdd-*")))
    # One frame of quality is in the folder and the next is being computed; the larger ones before
    # them, and the annotations, are on the executors' disks alone.
    _wait_until(lambda: len(list(checkpoints.glob("*/*/rdd-*"))) >= before + 2, process)
    _kill(_executors(cluster))  # with the workers' scores too, which are written after quality
    run = _finish(process, folder)
    assert _num_supersteps(events) > with_repeated
    assert not checkpoints.exists()
    return run


def test_executors_lost_between_two_layers_and_while_quality_is_measured_change_nothing(
    spark: SparkSession, local_tables: Path, cluster_run: Finished
) -> None:
    assert cluster_run.returncode == 0, cluster_run.log[-3000:]
    assert set(re.findall(r"Lost executor (\d+)", cluster_run.log)) == {"0", "1", "2", "3"}
    _assert_equal_tables(spark, local_tables, cluster_run.folder / "out")


def test_an_executor_lost_in_the_middle_of_the_stage_that_holds_all_parts_changes_nothing(
    cluster: StandaloneCluster, cluster_run: Finished, tmp_path: Path
) -> None:
    """Of four slots two are taken, as an executor has two. After the nights: that has no GPUs."""
    assert cluster_run.returncode == 0
    command = [sys.executable, "-m", "tests.cluster.lose_executor"]
    done = subprocess.run(
        [*command, cluster.master_url, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=_RUN_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"members": 2, "rows": 150 + 12, "killed": True}
    assert "Lost executor" in done.stderr


def test_scoring_runs_under_a_gpu_profile(
    cluster: StandaloneCluster, cluster_run: Finished
) -> None:
    requests = task_requests(cluster_run.folder / "events")
    stages = read_stages(cluster_run.folder / "events")
    scoring = [stage for stage in stages if stage.profile_id != DEFAULT_PROFILE]
    assert {requests[stage.profile_id]["gpu"] for stage in scoring} == {1.0}
    assert {requests[stage.profile_id]["cpus"] for stage in scoring} == {1.0}
    # Everything else asks for so little of a GPU that all cores of an executor are used.
    assert len(stages) > len(scoring)
    assert requests[DEFAULT_PROFILE] == {"cpus": 1.0, "gpu": 0.01}

    used = frozenset().union(*(stage.executors for stage in scoring))
    for worker, address in enumerate(ADDRESSES):
        assert used & cluster.executor_ids(worker)
        said = [
            re.findall(
                r"GPU (\S+) was scheduled, but CUDA cannot be used here: scoring on the CPU", log
            )
            for log in cluster.executor_logs(worker)
        ]
        assert set().union(*said) == {address}  # never another executor's
        # Once per Python worker, of which two cores have two.
        assert all(len(addresses) <= 2 for addresses in said)


def test_local_master_of_spark_submit_drops_gpu_settings(lake: Path, tmp_path: Path) -> None:
    """Else the queries of a dry run, too, would wait for GPUs for ever."""
    run = _finish(_start(lake, tmp_path, "local[2]", "--dry-run"), tmp_path)
    assert run.returncode == 0, run.log[-3000:]
    said = "local mode has no GPU scheduling"
    assert run.log.count(said) == 1
    assert run.log.count(f"{said} (the master is local[2])") == 1
    assert "would label 450 tasks of 7 projects" in run.log


def _kill(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)


def _num_supersteps(events: Path) -> int:
    """Completed attempts of stages that run parts and shuffle what they send."""
    return count_stages(events, '"Name":"blocks, superstep ')


def _wait_until_logged(log: Path, words: str, process: subprocess.Popen[str]) -> None:
    _wait_until(lambda: words in log.read_text(), process)


def _wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _RUN_SECONDS
    while not reached() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.poll() is None


def _executors(cluster: StandaloneCluster) -> list[int]:
    """Process ids of this cluster's executors, known by the folders that the workers gave them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
            folder = (process / "cwd").resolve()
        except OSError:  # it has ended meanwhile
            continue
        if "CoarseGrainedExecutorBackend" in command and cluster.folder in folder.parents:
            found.append(int(process.name))
    assert len(found) == len(cluster.gpu_addresses)
    return found
