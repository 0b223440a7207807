"""Which workers a block and a shard share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np

from crowdfm_core.graph import IntArray

__all__ = ["number_workers", "workers_by_shard"]


def workers_by_shard(worker_ids: Sequence[str], shards: int) -> list[IntArray]:
    """Workers of each shard, by their place in worker_ids; who belongs where depends on the id."""
    shard = np.array([crc32(name.encode()) % shards for name in worker_ids], np.int64)
    return [np.flatnonzero(shard == s).astype(np.int32) for s in range(shards)]


def number_workers(
    named: Mapping[int, Sequence[str]],
) -> tuple[list[str], dict[int, IntArray]]:
    """Sort the ids that the blocks name; returns them, and the numbers of each block's."""
    names = sorted({name for names in named.values() for name in names})
    place = {name: index for index, name in enumerate(names)}
    return names, {
        block: np.array([place[name] for name in of_block], np.int32)
        for block, of_block in named.items()
    }
