"""How many blocks and shards a component is cut into, from its sizes alone."""

from __future__ import annotations

from crowdfm_core.blocks.messages import Cut
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.memory import bytes_of_sizes, most_rows
from crowdfm_core.models import ModelConfig
from crowdfm_core.models.unrolled_config import UnrolledConfig

__all__ = ["plan_cut"]

_MOST = 4096  # parts of either kind
_ROWS_PER_SHARD = 500_000  # of the unrolled model
_WORKERS_PER_SHARD = 50_000  # of the paper's, which has no rows
_SPARE = 0.5  # of the budget: blocks are not all alike, and messages are beside them


def plan_cut(
    config: ModelConfig, sizes: ComponentSizes, *, max_annotations: int, max_bytes: int
) -> Cut | None:
    """Return the cut of a component, or None where it is scored in one piece.

    It is cut where it has more than max_annotations annotations, or would need more than max_bytes
    at once. A block then has about max_annotations of them, or fewer where these need more memory;
    a shard has about half a million rows of workers, or fifty thousand workers.
    """
    needed = bytes_of_sizes(config, sizes)
    if sizes.annotations <= max_annotations and needed <= max_bytes:
        return None
    blocks = max(2, -(-sizes.annotations // max_annotations))
    while blocks < _MOST and _bytes_of_block(config, sizes, blocks) > _SPARE * max_bytes:
        blocks += -(-blocks // 4)
    if isinstance(config, UnrolledConfig):
        shards = -(-most_rows(sizes) // _ROWS_PER_SHARD)
    else:
        shards = -(-sizes.workers // _WORKERS_PER_SHARD)
    return Cut(min(blocks, _MOST), min(shards, _MOST), sizes)


def _bytes_of_block(config: ModelConfig, sizes: ComponentSizes, blocks: int) -> int:
    """Estimate for one block: it may meet all workers."""
    annotations, tasks = (-(-n // blocks) for n in (sizes.annotations, sizes.tasks))
    block = ComponentSizes(annotations, tasks, min(sizes.workers, annotations), sizes.options)
    return bytes_of_sizes(config, block)
