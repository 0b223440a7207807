"""What Spark's event log says: resource profiles of stages, where tasks ran, what they moved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "DEFAULT_PROFILE",
    "Stage",
    "TaskTotals",
    "count_stages",
    "read_stages",
    "read_tasks",
    "task_requests",
    "task_totals",
]

DEFAULT_PROFILE = 0  # id of the profile that is made from the configuration


@dataclass(frozen=True)
class Stage:
    """One completed attempt of a stage."""

    stage_id: int
    profile_id: int
    executors: frozenset[str]
    rdds: frozenset[str]  # names


@dataclass(frozen=True)
class TaskTotals:
    """Sums over tasks; times are those of the executors, Python workers' among the run time."""

    tasks: int
    run_seconds: float
    cpu_seconds: float  # of the JVM's task threads
    gc_seconds: float
    shuffle_bytes_written: int
    spilled_bytes: int  # on disk
    input_bytes: int
    output_bytes: int


def _read_lines(folder: Path) -> list[str]:
    files = sorted(folder.rglob("events_*"))
    assert files, f"no event log under {folder}"
    lines = (line for path in files for line in path.read_text().splitlines(keepends=True))
    # An application that still runs may be in the middle of its last line.
    return [line for line in lines if line.endswith("\n")]


def _read_events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _read_lines(folder)]


def count_stages(folder: Path, words: str) -> int:
    """Completed attempts of stages whose event has these words, such as an RDD's name.

    Parses nothing: the log of a night has tens of megabytes.
    """
    completed = '{"Event":"SparkListenerStageCompleted"'
    return sum(line.startswith(completed) and words in line for line in _read_lines(folder))


def read_stages(folder: Path) -> list[Stage]:
    """Stages in order of completion, from the uncompressed log of one application."""
    events = _read_events(folder)
    executors: dict[tuple[int, int], set[str]] = {}
    for event in events:
        if event["Event"] == "SparkListenerTaskEnd":
            key = (event["Stage ID"], event["Stage Attempt ID"])
            executors.setdefault(key, set()).add(event["Task Info"]["Executor ID"])
    completed = [e["Stage Info"] for e in events if e["Event"] == "SparkListenerStageCompleted"]
    return [
        Stage(
            stage_id=stage["Stage ID"],
            profile_id=stage["Resource Profile Id"],
            executors=frozenset(executors.get((stage["Stage ID"], stage["Stage Attempt ID"]), ())),
            rdds=frozenset(rdd["Name"] for rdd in stage["RDD Info"]),
        )
        for stage in completed
    ]


def task_requests(folder: Path) -> dict[int, dict[str, float]]:
    """Resources that one task asks for, by profile: id -> {"cpus": 1.0, "gpu": 0.01}."""
    return {
        event["Resource Profile Id"]: {
            name: request["Amount"] for name, request in event["Task Resource Requests"].items()
        }
        for event in _read_events(folder)
        if event["Event"] == "SparkListenerResourceProfileAdded"
    }


def read_tasks(folder: Path) -> list[dict[str, Any]]:
    """What the log says of every ended task that has metrics, in order of their ends."""
    return [
        event
        for event in _read_events(folder)
        if event["Event"] == "SparkListenerTaskEnd" and event.get("Task Metrics")
    ]


def task_totals(
    tasks: list[dict[str, Any]], *, start: float = float("-inf"), end: float = float("inf")
) -> TaskTotals:
    """Sum over the tasks that were launched from `start` to before `end`, in epoch seconds."""
    found = [
        task["Task Metrics"]
        for task in tasks
        if start <= task["Task Info"]["Launch Time"] / 1e3 < end
    ]

    def total(*path: str) -> int:
        values: list[Any] = found
        for name in path:
            values = [value[name] for value in values]
        return sum(values)

    return TaskTotals(
        tasks=len(found),
        run_seconds=total("Executor Run Time") / 1e3,
        cpu_seconds=total("Executor CPU Time") / 1e9,
        gc_seconds=total("JVM GC Time") / 1e3,
        shuffle_bytes_written=total("Shuffle Write Metrics", "Shuffle Bytes Written"),
        spilled_bytes=total("Disk Bytes Spilled"),
        input_bytes=total("Input Metrics", "Bytes Read"),
        output_bytes=total("Output Metrics", "Bytes Written"),
    )
