"""Connected components of every project's task-worker graph, exactly and in two passes.

Tasks are hashed to partitions, so that only workers link partitions: the first pass reduces each
partition to (worker, smallest linked task) rows, of which there are far fewer than annotations;
the second joins them project by project.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.errors import ScoringError
from jobs.sql import run_sql
from udfs.connect_components import LINK_SCHEMA, connect_within

__all__ = ["add_components", "check_components", "component_sizes", "find_components"]


def find_components(annotations: DataFrame) -> DataFrame:
    """Return the component of every worker; grain: project_id, worker_id.

    Columns: project_id, worker_id, component_id (16 hexadecimal digits: the hash of the smallest
    task_id of the component, so it stays the same from run to run and for any partitioning).
    """
    edges = annotations.select("project_id", "task_id", "worker_id")
    links = (
        edges.repartition("project_id", "task_id")
        .sortWithinPartitions("project_id", "task_id")
        .mapInArrow(connect_within("project_id", "task_id"), LINK_SCHEMA)
    )
    joined = (
        links.withColumnRenamed("smallest_task_id", "task_id")
        .repartition("project_id")
        .sortWithinPartitions("project_id", "task_id")
        .mapInArrow(connect_within("project_id"), LINK_SCHEMA)
    )
    return joined.select(
        "project_id",
        "worker_id",
        F.substring(F.sha2("smallest_task_id", 256), 1, 16).alias("component_id"),
    )


def add_components(annotations: DataFrame, worker_components: DataFrame) -> DataFrame:
    """Add component_id to every annotation; grain: project_id, task_id, worker_id."""
    return annotations.join(worker_components, ["project_id", "worker_id"])


def component_sizes(annotations: DataFrame) -> DataFrame:
    """Return the components table; grain: project_id, component_id."""
    return run_sql("component_sizes", annotations=annotations)


def check_components(annotations: DataFrame, components: DataFrame) -> None:
    """Raise ScoringError unless every annotation has one component and no task lies in two.

    annotations: with component_id; components: its sizes. Runs one aggregation of each.
    """
    whole = annotations.select(
        F.count("*").alias("annotations"),
        F.count("component_id").alias("placed"),
        F.count_distinct("project_id", "task_id").alias("tasks"),
    ).first()
    parts = components.select(
        F.coalesce(F.sum("num_annotations"), F.lit(0)).alias("annotations"),
        F.coalesce(F.sum("num_tasks"), F.lit(0)).alias("tasks"),
    ).first()
    assert whole is not None  # a global aggregation has one row
    assert parts is not None
    found = (parts["annotations"], parts["tasks"], whole["placed"])
    expected = (whole["annotations"], whole["tasks"], whole["annotations"])
    if found != expected:
        raise ScoringError(
            "components: expected every annotation in one component and no task in two, got "
            f"(annotations, tasks, placed) {found} instead of {expected}; please report this"
        )
