"""How many blocks and shards a component is cut into, from its sizes alone."""

from __future__ import annotations

from collections.abc import Sequence

from crowdfm_core.blocks.messages import Cut
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.memory import bytes_held, bytes_of_shards, bytes_of_sizes, most_rows
from crowdfm_core.models import ModelConfig
from crowdfm_core.models.unrolled_config import UnrolledConfig

__all__ = ["bytes_together", "plan_cut"]

_MOST = 4096  # parts of either kind
_ROWS = 500_000  # of a shard of the unrolled model
_WORKERS = 50_000  # of a shard of the paper's, which has no rows
_RECEIVED = 8  # times as many sums may reach a shard from all blocks together
_SMALLEST = 10  # parts of that, below which a shard takes no less time
_WORKER_BYTES = 700  # id and factors of pairs, as they arrive and put together
_ROW_BYTES = 100  # of an annotation as it is read, with ids of some 16 characters
_NAME_BYTES = 80  # of a task
_SPARE = 0.5  # of the budget: blocks are not all alike, and messages are beside them


def plan_cut(
    config: ModelConfig,
    sizes: ComponentSizes,
    *,
    max_annotations: int,
    max_bytes: int,
    assigns: bool = False,
) -> Cut | None:
    """Return the cut of a component, or None where it is scored in one piece.

    It is cut where it has more than max_annotations annotations, or would need more than max_bytes
    at once. A block then has about max_annotations of them, or fewer where these need more memory;
    a shard has at most about half a million rows of workers, or fifty thousand workers, and gets
    eight times as many sums from all blocks. There are as many shards as blocks, with which they
    take turns on the same cores, where that leaves a tenth of that in each. assigns: whether tasks
    are assigned, for which a block has to know all workers.

    Raises MemoryBudgetError where the smallest blocks need more than max_bytes.
    """
    needed = bytes_of_sizes(config, sizes)
    if sizes.annotations <= max_annotations and needed <= max_bytes:
        return None
    blocks = max(2, -(-sizes.annotations // max_annotations))
    known = _WORKER_BYTES * sizes.workers if assigns else 0  # however small the block
    while blocks < _MOST and _bytes_of_block(config, sizes, blocks) + known > _SPARE * max_bytes:
        blocks += -(-blocks // 4)
    blocks = min(blocks, _MOST)
    smallest = _bytes_of_block(config, sizes, blocks) + known
    if smallest > max_bytes:
        allowed = max_bytes / 2**30
        raise MemoryBudgetError(
            f"{sizes.annotations} annotations of {sizes.tasks} tasks by {sizes.workers} workers, "
            f"with {sizes.options} options: expected blocks of at most {allowed:.3g} GiB, got "
            f"{smallest / 2**30:.3g} GiB each in {blocks} blocks, the most there may be; raise "
            "scoring.max_model_gib as far as a task's memory allows"
        )
    if isinstance(config, UnrolledConfig):
        own, limit = most_rows(sizes), _ROWS
        per_annotation = own // min(sizes.annotations, sizes.workers * sizes.options)
    else:
        own, limit, per_annotation = sizes.workers, _WORKERS, 1
    # What blocks send a shard, each of the rows that they share.
    received = min(blocks * own, sizes.annotations * per_annotation)
    shards = max(
        -(-own // limit),
        -(-received // (_RECEIVED * limit)),
        min(blocks, own * _SMALLEST // limit),
    )
    return Cut(blocks, min(shards, _MOST), sizes)


def bytes_together(
    config: ModelConfig,
    cuts: Sequence[Cut],
    members: int,
    *,
    num_draws: int,
    assigns: bool = False,
) -> int:
    """Estimate the peak of each of some processes that hold all parts of components between them
    and run one at a time, in bytes; of the process that has most.

    num_draws: of option vectors, where the model has any; assigns: as of `plan_cut`.
    """
    read = held = working = 0
    for cut in cuts:
        block = _block(cut.sizes, cut.blocks)
        of_block = bytes_held(config, block, num_draws=num_draws) + _NAME_BYTES * block.tasks
        if assigns:
            of_block += _WORKER_BYTES * cut.sizes.workers
        of_shards = bytes_of_shards(config, cut.sizes, num_draws=num_draws)
        blocks_each, shards_each = (-(-parts // members) for parts in (cut.blocks, cut.shards))
        read += blocks_each * _ROW_BYTES * block.annotations
        held += blocks_each * of_block + shards_each * of_shards // cut.shards
        working = max(working, _bytes_of_block(config, cut.sizes, cut.blocks))
    return max(read, held) + working  # the rows of a block go when it starts


def _bytes_of_block(config: ModelConfig, sizes: ComponentSizes, blocks: int) -> int:
    return bytes_of_sizes(config, _block(sizes, blocks), as_block=True)


def _block(sizes: ComponentSizes, blocks: int) -> ComponentSizes:
    """Sizes of one block: it may meet all workers."""
    annotations, tasks = (-(-n // blocks) for n in (sizes.annotations, sizes.tasks))
    return ComponentSizes(annotations, tasks, min(sizes.workers, annotations), sizes.options)
