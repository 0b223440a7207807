"""The cost model on figures that can be worked out by hand."""

from __future__ import annotations

import pytest

from tests.bench.cost_model import NETWORK_BYTES, Cost, cost_of, predict
from tests.bench.harness import Result


def test_a_run_is_split_into_fixed_and_task_seconds() -> None:
    """100 seconds on two cores, of which the tasks worked 160: 20 were not theirs."""
    details = {
        "annotations": 1000,
        "tasks": {"run_seconds": 160.0, "shuffle_bytes_written": 5000},
        "process_cpu_seconds": {"java": 170.0, "python": 30.0},
    }
    run = Result("lake_x", 100.0, None, None, "seconds", correct=True, details=details)
    assert cost_of(run, cores=2) == Cost(20.0, 0.16, 5.0, 0.2)


@pytest.mark.parametrize(
    ("executors", "expected"),
    [
        (1, 20 + 1000 * 0.16 / 2),  # nothing crosses the network
        (4, 20 + 1000 * 0.16 / 8 + 1.0),
    ],
)
def test_more_executors_share_tasks_and_network(executors: int, expected: float) -> None:
    cost = Cost(20.0, 0.16, shuffle_bytes=4 * NETWORK_BYTES / 1000, processor_seconds=0.2)
    assert predict(cost, annotations=1000, executors=executors, cores_each=2) == expected


@pytest.mark.parametrize(("machine_cores", "expected"), [(None, 60), (2, 100), (8, 60)])
def test_no_machine_works_more_than_its_cores(machine_cores: int | None, expected: float) -> None:
    """Tasks of 160 seconds on four cores, and 200 seconds of all processes together."""
    cost = Cost(20.0, 0.16, shuffle_bytes=0, processor_seconds=0.2)
    found = predict(cost, annotations=1000, executors=4, cores_each=1, machine_cores=machine_cores)
    assert found == expected
