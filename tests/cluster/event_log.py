"""What Spark's event log says about stages: their resource profile and where their tasks ran."""

from __future__ import annotations

import json
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
    executors: frozenset[str]


def _read_events(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("events_*"))
    assert files, f"no event log under {folder}"
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


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
