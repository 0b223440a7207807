"""One worker against two on a Standalone cluster: `make bench-scale`.

Runs the nightly command on a cluster of one worker with one core, predicts by cost_model.py what
two take, and measures that. Both clusters are on this machine, the driver beside them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.cost_model import cost_of, predict
from tests.bench.harness import Result, num_threads, publish
from tests.bench.lake_benchmark import LAKES, measure
from tests.cluster.standalone import standalone_cluster

__all__ = ["main"]

_TOLERANCE = 0.25  # of the prediction
# As local mode has them: a night of Spark's 200 partitions has 14,000 tasks, most of which do
# nothing but start.
_CONF = {
    "spark.executor.memory": "3g",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",
}
_BILLION = 1_000_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen size; 1 if the prediction is off by more than a quarter."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale_benchmark")
    parser.add_argument("size", nargs="?", default="10m", choices=sorted(LAKES))
    parser.add_argument("--folder", type=Path, default=Path("data/bench"), help="for lakes, tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the line to a file, too")
    chosen = parser.parse_args(arguments)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"  # the driver's address, for the executors
    one, two = (_on_cluster(chosen.size, chosen.folder, workers) for workers in (1, 2))
    return publish([_compared(one, two)], chosen.out)


def _on_cluster(size: str, folder: Path, workers: int) -> Result:
    cluster_folder = (folder / f"cluster-{workers}").resolve()
    shutil.rmtree(cluster_folder, ignore_errors=True)
    cluster_folder.mkdir(parents=True)
    addresses = tuple(str(number) for number in range(workers))
    with standalone_cluster(
        cluster_folder, gpu_addresses=addresses, cores_per_worker=1, memory="4g"
    ) as cluster:
        settings = [f"spark.master={cluster.master_url}"]
        return measure(
            size,
            folder / size,
            driver_memory="3g",
            settings=settings,
            conf=_CONF,
            root=os.getpid(),  # executors are not under the command
        )


def _compared(one: Result, two: Result) -> Result:
    """ours: seconds measured with two workers; other: predicted from the run with one."""
    cost = cost_of(one, cores=1)
    annotations = one.details["annotations"]
    expected = predict(
        cost,
        annotations=annotations,
        executors=2,
        cores_each=1,
        machine_cores=num_threads(),
    )
    table = {
        f"{executors} executors of 4 cores": {
            f"{number:.0e} annotations": predict(
                cost, annotations=number, executors=executors, cores_each=4
            )
            for number in (100 * 10**6, _BILLION, 10 * _BILLION)
        }
        for executors in (1, 2, 4, 100)
    }
    return Result(
        benchmark=f"scale_{one.benchmark.removeprefix('lake_')}",
        ours=two.ours,
        other=expected,
        ratio=expected / two.ours,
        unit="seconds",
        correct=one.correct and two.correct and abs(two.ours / expected - 1) < _TOLERANCE,
        details={
            "one_worker_seconds": one.ours,
            "cost": vars(cost),
            "predicted_seconds": table,
            **{
                name: {"one_worker": one.details[name], "two_workers": two.details[name]}
                for name in ("tasks", "process_cpu_seconds", "peak_memory_bytes")
            },
        },
    )


if __name__ == "__main__":
    sys.exit(main())
