"""Which workers a block and a shard share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np

from crowdfm_core.graph import IntArray

__all__ = ["by_shard", "number_workers", "shards_of"]


def shards_of(worker_ids: Sequence[str], shards: int) -> IntArray:
    """Shard of each worker, int32 [W]; it depends on the id alone."""
    return np.array([crc32(name.encode()) % shards for name in worker_ids], np.int32)


def by_shard(shard: IntArray, shards: int) -> list[IntArray]:
    """Places of each shard in `shard` [N], rising."""
    order = np.argsort(shard, kind="stable").astype(np.int32)
    return np.split(order, np.cumsum(np.bincount(shard, minlength=shards))[:-1])


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
