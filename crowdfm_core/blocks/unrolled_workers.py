"""All workers of a component, as the shards tell a block of them at the end.

Letters: T tasks, W workers of the component, F factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from crowdfm_core.assignments import Answered, answered_by
from crowdfm_core.blocks.messages import Message, bodies
from crowdfm_core.blocks.unrolled_messages import WorkerFactors
from crowdfm_core.compatibility import PairFactors
from crowdfm_core.graph import AnnotationGraph, IntArray

__all__ = ["all_workers"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AllWorkers:
    """ids [W], sorted; their factors [W, F]; answered: which of them answered the block's tasks."""

    ids: list[str]
    factors: Floats
    answered: Answered

    def pair_factors(self, tasks: Floats) -> PairFactors:
        """Factors of all pairs with the block's tasks [T, F]."""
        component_of_worker, component_of_task = (
            np.zeros(len(of), np.int32) for of in (self.factors, tasks)
        )
        return PairFactors(self.factors, tasks, component_of_worker, component_of_task)


def all_workers(
    graph: AnnotationGraph, workers_of_shard: Sequence[IntArray], inbox: Sequence[Message]
) -> AllWorkers:
    """Put together what the shards told.

    graph: of the block; workers_of_shard: which of its workers each shard has, in the order of the
    block's rosters.
    """
    told = list(bodies(inbox, WorkerFactors).values())
    ids = [worker for body in told for worker in body.worker_ids]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    factors = np.empty((len(ids), told[0].factors.shape[1]))
    of_block = np.empty(graph.num_workers, np.int64)
    first = 0
    for own, body in zip(workers_of_shard, told, strict=True):
        of_shard = place[first : first + len(body.worker_ids)]
        factors[of_shard] = body.factors
        of_block[own] = of_shard[body.shared]
        first += len(body.worker_ids)
    answered = answered_by(graph)
    return AllWorkers(
        ids=[ids[i] for i in order],
        factors=factors,
        answered=replace(answered, worker=of_block[answered.worker]),
    )
