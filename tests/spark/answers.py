"""Who answers which task in the lakes of the scoring tests, the sizes of what comes out, plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from pyspark.sql import DataFrame

from jobs.steps.components import component_sizes

__all__ = ["assignments", "plan_of", "sizes_of"]


def assignments(
    projects: Mapping[str, tuple[int, int, int]], rng: np.random.Generator, *, every: int = 2
) -> Iterator[tuple[str, int, int, int]]:
    """Yield project, task, worker and the project's number of options, up to four workers a task.

    projects: name -> tasks, workers, options; "split" falls into two components, the second of one
    in `every` tasks. Each (task, worker) comes once. The generator draws as it goes, between what
    its caller draws.
    """
    for project, (tasks, workers, options) in projects.items():
        for task in range(tasks):
            side = int(project == "split" and task % every == every - 1)
            pool = np.arange(workers)
            pool = pool[pool % 2 == side] if project == "split" else pool
            for worker in rng.choice(pool, min(4, len(pool)), replace=False):
                yield project, task, worker, options


def sizes_of(placed: DataFrame) -> DataFrame:
    """The components of annotations that carry component_id."""
    workers = placed.select("project_id", "worker_id", "component_id").distinct()
    return component_sizes(placed, workers)


def plan_of(frame: DataFrame) -> str:
    """How Spark would compute a frame."""
    return str(frame._jdf.queryExecution().executedPlan().toString())
