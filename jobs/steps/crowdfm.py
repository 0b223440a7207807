"""CrowdFM over all projects: from annotations with components to labels and worker scores."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark import StorageLevel
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame

from crowdfm_core.config import JobConfig
from jobs.steps.batches import assign_batches
from jobs.steps.options import index_options
from jobs.steps.outputs import labels_from_scores, workers_from_scores
from jobs.steps.scoring import score_annotations

__all__ = ["Aggregated", "aggregate_with_crowdfm"]


@dataclass(frozen=True)
class Aggregated:
    """Results of one method in the columns of aggregated_labels, worker_scores and method_fits.

    persisted: what to unpersist when all have been written. fits: None where nothing is fitted.
    """

    labels: DataFrame
    workers: DataFrame
    persisted: tuple[DataFrame, ...]
    fits: DataFrame | None = None


def aggregate_with_crowdfm(
    annotations: DataFrame,
    components: DataFrame,
    config: JobConfig,
    weights_sha256: str,
    profile: ResourceProfile | None,
) -> Aggregated:
    """Score all annotations (with component_id) in batches of the components.

    The scores are kept on the executors' disks, so that both tables come from one pass.
    """
    batches = assign_batches(
        components,
        max_annotations=config.scoring.max_annotations_per_batch,
        slots=components.sparkSession.sparkContext.defaultParallelism,
    ).persist()
    scores = score_annotations(
        annotations,
        index_options(annotations),
        batches,
        model=config.model,
        weights_sha256=weights_sha256,
        device=config.scoring.device,
        max_bytes=int(config.scoring.max_model_gib * 2**30),
        max_probabilities=config.output.max_probabilities,
        profile=profile,
    ).persist(StorageLevel.DISK_ONLY)
    return Aggregated(labels_from_scores(scores), workers_from_scores(scores), (scores, batches))
