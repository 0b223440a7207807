"""Which tasks are assigned to whom: part of the configuration, and of what executors are told."""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.errors import ConfigError

__all__ = ["AssignmentRule"]


@dataclass(frozen=True)
class AssignmentRule:
    """Tasks whose label the frozen model gives at most `max_probability` (1: all tasks) are
    assigned to the `workers_per_task` most compatible workers who have not answered them."""

    workers_per_task: int = 3
    max_probability: float = 0.8

    def __post_init__(self) -> None:
        problems = []
        if not 1 <= self.workers_per_task <= 20:
            problems.append(f"workers_per_task: expected 1 to 20, got {self.workers_per_task}")
        if not 0 <= self.max_probability <= 1:
            problems.append(f"max_probability: expected 0 to 1, got {self.max_probability}")
        if problems:
            raise ConfigError(problems, where="assignments")
