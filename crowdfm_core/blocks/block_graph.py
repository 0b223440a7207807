"""The annotation graph of one block."""

from __future__ import annotations

from crowdfm_core.blocks.messages import Cut
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.memory import check_memory
from crowdfm_core.models import ModelConfig
from crowdfm_core.scoring import AnnotationBatch

__all__ = ["block_graph"]


def block_graph(
    config: ModelConfig, cut: Cut, batch: AnnotationBatch, *, max_bytes: int
) -> AnnotationGraph:
    """Group the annotations of a block, which is a batch of one project.

    Raises ScoringError where the model needs more than max_bytes for it.
    """
    graph = AnnotationGraph.from_arrays(
        batch.task_index,
        batch.worker_index,
        batch.option_index,
        num_tasks=len(batch.task_project),
        num_workers=batch.num_workers,
        num_option_rows=cut.sizes.options,
    )
    check_memory(config, graph, batch.project_ids, max_bytes, as_block=True)
    return graph
