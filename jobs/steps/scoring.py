"""Scores annotations with the frozen model, batch by batch, through mapInArrow."""

from __future__ import annotations

from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.config import ModelConfig
from jobs.steps.joins import small
from udfs.batch_tables import INPUT_COLUMNS, SCORE_SCHEMA
from udfs.score_batches import score_batches

__all__ = ["arrange_batches", "batch_rows", "score_annotations"]


def score_annotations(
    annotations: DataFrame,
    options: DataFrame,
    batches: DataFrame,
    *,
    model: ModelConfig,
    weights_sha256: str,
    device: str,
    max_bytes: int,
    max_probabilities: int,
    profile: ResourceProfile | None,
    assignments: AssignmentRule | None = None,
) -> DataFrame:
    """Return scores of tasks and workers as in udfs.batch_tables.SCORE_SCHEMA.

    Grain: one task (worker_id null) or one worker (task_id null) of a project. annotations: with
    component_id; options: from index_options; batches: from assign_batches. Every batch is one
    Spark partition, which runs under `profile` if there is one.
    """
    return arrange_batches(annotations, options, batches).mapInArrow(
        score_batches(
            weights=model.weights,
            weights_sha256=weights_sha256,
            device=device,
            max_bytes=max_bytes,
            num_draws=model.num_draws,
            max_probabilities=max_probabilities,
            assignments=assignments,
        ),
        SCORE_SCHEMA,
        profile=profile,
    )


def arrange_batches(
    annotations: DataFrame, options: DataFrame, batches: DataFrame, *, also: tuple[str, ...] = ()
) -> DataFrame:
    """Return rows as `batch_rows` does, with every batch in one partition."""
    newest = batches.agg(F.max("batch_index").alias("newest")).first()
    partitions = 1 if newest is None or newest["newest"] is None else int(newest["newest"]) + 1
    rows = batch_rows(annotations, options, batches, also=also)
    return rows.repartitionById(partitions, "batch_index")


def batch_rows(
    annotations: DataFrame, options: DataFrame, batches: DataFrame, *, also: tuple[str, ...] = ()
) -> DataFrame:
    """Return udfs.batch_tables.INPUT_COLUMNS.

    Grain: one annotation, or one option of a project in a batch (task_id null). batches: from
    assign_batches, of components or of whole projects. also: columns of annotations that are kept.
    options and batches should be persisted: they are counted first, to see what has to move.
    """
    units = [name for name in batches.columns if name != "batch_index"]
    of_projects = small(options, options.count())
    placed = annotations.join(small(batches, batches.count()), units)
    rows = placed.join(of_projects, ["project_id", "label"]).withColumn(
        "label",
        F.lit(None).cast("string"),  # known from option_index: not shipped per annotation
    )
    # The options of a project reach each of its batches once, whoever answered there.
    listed = batches.select("batch_index", "project_id").distinct().join(options, "project_id")
    nothing = F.lit(None).cast("string")
    listed = listed.withColumns({"component_id": nothing, "task_id": nothing, "worker_id": nothing})
    return rows.select(*INPUT_COLUMNS, *also).unionByName(
        listed.select(*INPUT_COLUMNS), allowMissingColumns=True
    )
