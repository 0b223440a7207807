"""How long a night takes on a cluster that is not at hand, from a night on one that is.

    seconds = fixed + annotations * task seconds each / cores
                    + annotations * shuffled bytes each / (executors * bytes a second)

fixed: what does not get shorter with more cores: start of Spark, planning, commits to Delta. Task
seconds are those of Spark's tasks, Python workers' among them. The last term is the network's,
which a cluster of one executor does not use. The model takes work as evenly spread; a component in
blocks is (see the README on large projects), one in a single batch is not. Cores are those of the
executors; where these and the driver share one machine, a night takes at least what all processes
together work, compilers of Java and Python workers too, on the cores of that machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.harness import Result

__all__ = ["NETWORK_BYTES", "Cost", "cost_of", "predict"]

NETWORK_BYTES = 1.25e9  # a second and executor: ten gigabits


@dataclass(frozen=True)
class Cost:
    """Of one night; all but fixed_seconds per annotation. processor_seconds: of all processes."""

    fixed_seconds: float
    task_seconds: float
    shuffle_bytes: float
    processor_seconds: float


def cost_of(run: Result, *, cores: int) -> Cost:
    """Split a measured `lake_SIZE` run on `cores` cores."""
    tasks, annotations = run.details["tasks"], run.details["annotations"]
    return Cost(
        fixed_seconds=max(run.ours - tasks["run_seconds"] / cores, 0.0),
        task_seconds=tasks["run_seconds"] / annotations,
        shuffle_bytes=tasks["shuffle_bytes_written"] / annotations,
        processor_seconds=sum(run.details["process_cpu_seconds"].values()) / annotations,
    )


def predict(
    cost: Cost,
    *,
    annotations: int,
    executors: int,
    cores_each: int,
    machine_cores: int | None = None,
) -> float:
    """Wall seconds of a night; machine_cores: of the machine that driver and executors share."""
    seconds = cost.fixed_seconds + annotations * cost.task_seconds / (executors * cores_each)
    if executors > 1:
        seconds += annotations * cost.shuffle_bytes / (executors * NETWORK_BYTES)
    if machine_cores is not None:
        seconds = max(seconds, annotations * cost.processor_seconds / machine_cores)
    return seconds
