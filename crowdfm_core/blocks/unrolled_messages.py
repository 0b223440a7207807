"""What the parts of a component send each other in the unrolled model.

Rows are those of the pairs that a block and a shard share, in the order of the block's `Roster`.
Letters: see candidates.py; D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.blocks.messages import Keyed
from crowdfm_core.graph import IntArray

__all__ = [
    "ClassSums",
    "GroupSums",
    "PooledStates",
    "Roster",
    "RowFeatures",
    "RowMessages",
    "RowSums",
    "SurenessSums",
    "TaskSpread",
    "WorkerFactors",
    "WorkerSpread",
    "rows_of_pairs",
]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Roster:
    """From a block to a shard: the shard's workers in the block, by id, and their pairs [P] of
    worker (by place in worker_ids) and option, with how many of the block's answers each has."""

    worker_ids: list[str]
    pair_worker: IntArray
    pair_option: IntArray
    pair_count: IntArray


@dataclass(frozen=True)
class RowSums:
    """From a block to a shard: sums over the block's annotations of each shared row, `Learned.rows`
    or at the end `LastSums.rows`; counts: expected ones of all rows of the block, by place of the
    pooled."""

    rows: Floats
    counts: Keyed


@dataclass(frozen=True)
class GroupSums:
    """From a block to every block: sums over its tasks, by option."""

    groups: Keyed


@dataclass(frozen=True)
class SurenessSums:
    """From a block to every block: `sureness_sums` of its tasks."""

    sums: npt.NDArray[np.float64]


@dataclass(frozen=True)
class PooledStates:
    """From a shard to every shard: `Pooled.states` of its rows, by place of the pooled."""

    states: Keyed


@dataclass(frozen=True)
class RowMessages:
    """From a shard to a block: what tasks see of the shared rows, [., D + 2]."""

    rows: Floats


@dataclass(frozen=True)
class RowFeatures:
    """From a shard to a block: `row_features` of the shared rows, and the crowd's accuracy."""

    rows: Floats
    crowd: Floats


@dataclass(frozen=True)
class TaskSpread:
    """From a block to every block: `task_spread` of its tasks."""

    sums: Floats


@dataclass(frozen=True)
class WorkerSpread:
    """From a shard to every shard: `worker_spread` of its workers."""

    sums: Floats


@dataclass(frozen=True)
class ClassSums:
    """From a shard to every shard: `ClassCounts` of its workers together, [1, K]."""

    right: npt.NDArray[np.float64]
    total: npt.NDArray[np.float64]


@dataclass(frozen=True)
class WorkerFactors:
    """From a shard to a block: all of its workers by id, sorted, with their factors [W, F], and
    where among them the shared ones are, in the order of the block's roster."""

    worker_ids: list[str]
    factors: npt.NDArray[np.float32]
    shared: IntArray


def rows_of_pairs(row_start: IntArray, pairs: IntArray) -> IntArray:
    """Rows of some pairs, pair after pair."""
    first, number = row_start[pairs], row_start[pairs + 1] - row_start[pairs]
    before = np.cumsum(number) - number
    rows: IntArray = (np.arange(number.sum()) + np.repeat(first - before, number)).astype(np.int32)
    return rows
