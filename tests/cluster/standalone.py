"""A real Spark Standalone cluster on the loopback interface: one master, workers, fake GPUs.

Every process writes under one folder: `<name>.log` of the master and of each worker, and
`<name>/app-*/<executor>/stderr` of the executors, which is where Python workers log to.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.jvm_options import SHORT_LIVED

__all__ = ["LOOPBACK_CONF", "StandaloneCluster", "standalone_cluster"]

# Of applications on such a cluster.
LOOPBACK_CONF = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": SHORT_LIVED,
    "spark.executor.extraJavaOptions": SHORT_LIVED,
    "spark.executor.memory": "700m",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "4",
}

_START_SECONDS = 60.0


@dataclass(frozen=True)
class StandaloneCluster:
    """Address and files of a running cluster."""

    master_url: str
    folder: Path
    gpu_addresses: tuple[str, ...]  # one per worker

    def executor_ids(self, worker: int) -> set[str]:
        """What Spark calls the executors that a worker has had."""
        return {folder.name for folder in self.folder.glob(f"worker-{worker}/app-*/*")}

    def executor_logs(self, worker: int) -> list[str]:
        """What each of a worker's executors, and the Python workers under it, logged so far."""
        logs = sorted(self.folder.glob(f"worker-{worker}/app-*/*/stderr"))
        return [log.read_text(errors="replace") for log in logs]


@contextmanager
def standalone_cluster(
    folder: Path, *, gpu_addresses: tuple[str, ...], cores_per_worker: int, memory: str = "1g"
) -> Iterator[StandaloneCluster]:
    """Start a master and one worker per GPU address, and stop all of them at the end.

    The addresses need no GPU: they come from a discovery script written here. The ports are
    chosen by the processes themselves, so clusters can run side by side.
    """
    with ExitStack() as running:
        master_log = folder / "master.log"
        master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"]
        running.enter_context(_daemon([*master, "--port", "0", "--webui-port", "0"], master_log))
        master_url = _wait_for(r"Starting Spark master at (spark://\S+)", master_log)
        for number, address in enumerate(gpu_addresses):
            name = f"worker-{number}"
            properties = _worker_properties(folder, name, address)
            log = folder / f"{name}.log"
            worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1"]
            worker += ["--port", "0", "--webui-port", "0", "--memory", memory]
            worker += ["--cores", str(cores_per_worker), "--work-dir", str(folder / name)]
            worker += ["--properties-file", str(properties), master_url]
            running.enter_context(_daemon(worker, log))
            _wait_for(r"(Successfully registered with master)", log)
        yield StandaloneCluster(master_url, folder, gpu_addresses)


def _worker_properties(folder: Path, name: str, address: str) -> Path:
    script = folder / f"{name}-gpus.sh"
    script.write_text(f"""#!/bin/sh\necho '{{"name": "gpu", "addresses": ["{address}"]}}'\n""")
    script.chmod(0o755)
    properties = folder / f"{name}.conf"
    properties.write_text(
        f"spark.worker.resource.gpu.amount 1\nspark.worker.resource.gpu.discoveryScript {script}\n"
    )
    return properties


@contextmanager
def _daemon(command: list[str], log: Path) -> Iterator[None]:
    spark_home = Path(pyspark.__file__).parent
    environment = {
        **os.environ,
        "SPARK_HOME": str(spark_home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "SPARK_DAEMON_JAVA_OPTS": SHORT_LIVED,
        "PYSPARK_PYTHON": sys.executable,
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(spark_home / "bin" / "spark-class"), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            yield
        finally:
            process.terminate()  # a worker takes its executors with it
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(pattern: str, log: Path) -> str:
    """First group of the pattern as soon as it is in the log; TimeoutError with the log's end."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return found.group(1)
        time.sleep(0.1)
    end = log.read_text(errors="replace")[-2000:]
    raise TimeoutError(f"{log.name}: nothing like {pattern!r} in {_START_SECONDS:.0f} s\n{end}")
