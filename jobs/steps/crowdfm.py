"""CrowdFM over all projects: from annotations with components to labels and worker scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark import StorageLevel
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.blocks.program import supersteps
from crowdfm_core.config import JobConfig
from crowdfm_core.weights import load_weights
from jobs.steps.batches import assign_batches
from jobs.steps.blocks import plan_blocks, score_in_blocks
from jobs.steps.exchange import plan_exchanges
from jobs.steps.outputs import assignments_from_scores, labels_from_scores, workers_from_scores
from jobs.steps.progress import Say
from jobs.steps.scoring import score_annotations
from udfs.blocks import FrozenModel

__all__ = ["Aggregated", "aggregate_with_crowdfm"]


@dataclass(frozen=True)
class Aggregated:
    """Results of one method in the columns of aggregated_labels, worker_scores, method_fits and
    assignments.

    persisted: what to unpersist when all have been written. fits: None where nothing is fitted;
    assignments: None where no tasks are assigned.
    """

    labels: DataFrame
    workers: DataFrame
    persisted: tuple[DataFrame, ...]
    fits: DataFrame | None = None
    assignments: DataFrame | None = None


def aggregate_with_crowdfm(
    annotations: DataFrame,
    components: DataFrame,
    options: DataFrame,
    gold: DataFrame,
    config: JobConfig,
    weights_sha256: str,
    profile: ResourceProfile | None,
    *,
    say: Say,
) -> Aggregated:
    """Score all annotations (with component_id) in batches of the components.

    components: their sizes; options: from index_options, best persisted, as they are counted first;
    gold: from gold_labels, whose tasks are not assigned.
    Components that are too large for one process are cut into blocks; say: takes a line for each of
    their supersteps. The scores are kept on the executors' disks, so that all tables come from one
    pass.
    """
    scoring = config.scoring
    max_bytes = int(scoring.max_model_gib * 2**30)
    model = load_weights(config.model.weights).config
    assigns = config.assignments is not None
    plan = plan_blocks(components, options, model, scoring, assigns=assigns)
    whole = annotations
    if plan is not None:
        keys = ["project_id", "component_id"]
        whole = annotations.join(F.broadcast(plan.keys), keys, "left_anti")
        components = components.join(F.broadcast(plan.keys), keys, "left_anti")
    batches = assign_batches(
        components,
        max_annotations=scoring.max_annotations_per_batch,
        slots=components.sparkSession.sparkContext.defaultParallelism,
    ).persist()
    of_batches = score_annotations(
        whole,
        options,
        batches,
        model=config.model,
        weights_sha256=weights_sha256,
        device=scoring.device,
        max_bytes=max_bytes,
        max_probabilities=config.output.max_probabilities,
        profile=profile,
        assignments=config.assignments,
    )
    scores = [of_batches.persist(StorageLevel.DISK_ONLY)]
    if plan is not None:
        frozen = FrozenModel(
            config.model.weights,
            weights_sha256,
            config.model.num_draws,
            config.output.max_probabilities,
            config.assignments,
        )
        exchanges = plan_exchanges(components.sparkSession, plan.components, model, config, say=say)
        scores += score_in_blocks(
            annotations,
            options,
            frozen,
            steps=supersteps(model, assigns=assigns),
            exchanges=exchanges,
            max_bytes=max_bytes,
            say=say,
        )
    together = reduce(DataFrame.unionByName, scores)
    return Aggregated(
        labels_from_scores(together),
        workers_from_scores(together),
        (*scores, batches),
        assignments=assignments_from_scores(together, gold) if assigns else None,
    )
