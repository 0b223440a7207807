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
from jobs.steps.annotations import arrange_by_task
from jobs.steps.joins import small
from udfs.connect_components import LINK_SCHEMA, connect_chunks

__all__ = ["add_components", "check_components", "component_sizes", "find_components"]


def find_components(annotations: DataFrame) -> DataFrame:
    """Return the component of every worker; grain: project_id, worker_id.

    Columns: project_id, worker_id, component_id (16 hexadecimal digits: the hash of the smallest
    task_id of the component, so it stays the same from run to run and for any partitioning).
    """
    links = _links(annotations, "project_id", "task_id")
    joined = _links(links.withColumnRenamed("smallest_task_id", "task_id"), "project_id")
    return joined.select(
        "project_id",
        "worker_id",
        F.substring(F.sha2("smallest_task_id", 256), 1, 16).alias("component_id"),
    )


def _links(edges: DataFrame, *unsplit: str) -> DataFrame:
    """Link workers within partitions that split no values of `unsplit`; udfs.connect_components."""
    # A number sorts faster than text, and the order matters to nobody.
    keyed = edges.select(
        "project_id", "task_id", "worker_id", F.xxhash64(*unsplit).alias("chunk_key")
    )
    return (
        keyed.repartition(*unsplit)
        .sortWithinPartitions("chunk_key")
        .mapInArrow(connect_chunks, LINK_SCHEMA)
    )


def add_components(annotations: DataFrame, worker_components: DataFrame) -> DataFrame:
    """Add component_id and task_hash to every annotation; grain: project_id, task_id, worker_id.

    worker_components: of find_components, best persisted, as they are counted first. The result is
    arranged by task and its answers, and best persisted too.
    """
    workers = small(worker_components, worker_components.count())
    placed = annotations.join(workers, ["project_id", "worker_id"])
    return arrange_by_task(placed, "component_id", "label")


def component_sizes(annotations: DataFrame, worker_components: DataFrame) -> DataFrame:
    """Return the components table, and num_split_tasks; grain: project_id, component_id.

    annotations: of add_components; worker_components: of find_components.
    """
    return run_sql("component_sizes", annotations=annotations, workers=worker_components)


def check_components(annotations: DataFrame, components: DataFrame) -> None:
    """Raise ScoringError unless every annotation has one component and no task lies in two.

    annotations: as they were before components were found; components: of component_sizes.
    """
    expected = annotations.count()
    found = components.agg(
        F.coalesce(F.sum("num_annotations"), F.lit(0)).alias("annotations"),
        F.coalesce(F.sum("num_split_tasks"), F.lit(0)).alias("split"),
    ).first()
    assert found is not None  # a global aggregation has one row
    if (found["annotations"], found["split"]) != (expected, 0):
        raise ScoringError(
            f"components: expected each of {expected} annotations in one component and no task in "
            f"two, got {found['annotations']} annotations in components and {found['split']} tasks "
            "in two; please report this"
        )
