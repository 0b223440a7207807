"""What Spark's event log says about stages: their resource profile and where their tasks ran."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DEFAULT_PROFILE", "Stage", "read_stages", "task_requests"]

DEFAULT_PROFILE = 0  # id of the profile that is made from the configuration


@dataclass(frozen=True)
class Stage:
    """One completed attempt of a stage."""

    stage_id: int
    profile_id: int
    name: str
    executors: frozenset[str]
    max_tasks_at_once: int  # on any one executor


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All events of the one application that logged, uncompressed, to `folder`."""
    files = sorted(folder.rglob("events_*"))
    assert files, f"no event log under {folder}"
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def read_stages(folder: Path) -> list[Stage]:
    """Stages in order of completion."""
    events = read_events(folder)
    tasks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in events:
        if event["Event"] == "SparkListenerTaskEnd":
            key = (event["Stage ID"], event["Stage Attempt ID"])
            tasks.setdefault(key, []).append(event["Task Info"])
    stages = []
    for event in events:
        if event["Event"] == "SparkListenerStageCompleted":
            info = event["Stage Info"]
            ran = tasks.get((info["Stage ID"], info["Stage Attempt ID"]), [])
            stages.append(
                Stage(
                    stage_id=info["Stage ID"],
                    profile_id=info["Resource Profile Id"],
                    name=info["Stage Name"],
                    executors=frozenset(task["Executor ID"] for task in ran),
                    max_tasks_at_once=_most_at_once(ran),
                )
            )
    return stages


def task_requests(folder: Path) -> dict[int, dict[str, float]]:
    """Resources that one task asks for, by profile: id -> {"cpus": 1.0, "gpu": 0.1}."""
    return {
        event["Resource Profile Id"]: {
            name: request["Amount"] for name, request in event["Task Resource Requests"].items()
        }
        for event in read_events(folder)
        if event["Event"] == "SparkListenerResourceProfileAdded"
    }


def _most_at_once(tasks: list[dict[str, Any]]) -> int:
    """Largest number of tasks that ran on one executor at the same moment.

    A core is free before the driver has noted the end of its task, so one task more than there
    are slots may show.
    """
    most = 0
    for executor in {task["Executor ID"] for task in tasks}:
        changes: Counter[int] = Counter()
        for task in tasks:
            if task["Executor ID"] == executor:
                changes[task["Launch Time"]] += 1
                changes[task["Finish Time"]] -= 1
        running = 0
        for moment in sorted(changes):
            running += changes[moment]
            most = max(most, running)
    return most
