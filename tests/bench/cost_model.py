"""How long a night takes on a cluster that is not at hand, from a night on one that is.

    seconds = fixed + annotations * task seconds each / cores
                    + annotations * shuffled bytes each / (executors * bytes a second)

fixed: what does not get shorter with more cores: start of Spark, planning, commits to Delta. Task
seconds are those of Spark's tasks, Python workers' among them. The last term is the network's,
which a cluster of one executor does not use. The model takes work as evenly spread; a component in
blocks is (see the README on large projects), one in a single batch is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.harness import Result

__all__ = ["NETWORK_BYTES", "Cost", "cost_of", "predict"]

NETWORK_BYTES = 1.25e9  # a second and executor: ten gigabits


@dataclass(frozen=True)
class Cost:
    """Of one night; task_seconds and shuffle_bytes per annotation."""

    fixed_seconds: float
    task_seconds: float
    shuffle_bytes: float


def cost_of(run: Result, *, cores: int) -> Cost:
    """Split a measured `lake_SIZE` run on `cores` cores."""
    tasks, annotations = run.details["tasks"], run.details["annotations"]
    return Cost(
        fixed_seconds=max(run.ours - tasks["run_seconds"] / cores, 0.0),
        task_seconds=tasks["run_seconds"] / annotations,
        shuffle_bytes=tasks["shuffle_bytes_written"] / annotations,
    )


def predict(cost: Cost, *, annotations: int, executors: int, cores_each: int) -> float:
    """Wall seconds of a night."""
    seconds = cost.fixed_seconds + annotations * cost.task_seconds / (executors * cores_each)
    if executors > 1:
        seconds += annotations * cost.shuffle_bytes / (executors * NETWORK_BYTES)
    return seconds
