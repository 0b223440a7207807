"""The unrolled model on one shard of a component's workers.

A shard knows all rows of its workers; it adds up what the blocks of their tasks learned, updates
the rows, and sends each block the messages of the rows that they share.
Letters: see candidates.py; rows and pairs are those of the shard's workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.candidate_kernels import add_at
from crowdfm_core.blocks.messages import Cut, Keyed, Message, Part, bodies, sum_of, total_at
from crowdfm_core.blocks.results import score_workers, sum_answers
from crowdfm_core.blocks.unrolled_messages import (
    ClassSums,
    PooledStates,
    Roster,
    RowFeatures,
    RowMessages,
    RowSums,
    WorkerFactors,
    WorkerSpread,
    rows_of_pairs,
)
from crowdfm_core.blocks.workers import number_workers
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.compatibility import (
    ClassCounts,
    count_classes,
    recall_of_classes,
    worker_factors,
)
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph, IntArray, Side
from crowdfm_core.models.embeddings import (
    WorkerFacts,
    embed_workers,
    row_features,
    worker_facts,
    worker_spread,
)
from crowdfm_core.models.unrolled import UnrolledModel
from crowdfm_core.models.unrolled_sizes import BatchSizes
from crowdfm_core.models.unrolled_states import Pooled
from crowdfm_core.read_outs import Tensors, read_out
from crowdfm_core.scoring import ScoredWorkers

__all__ = [
    "ScoredShard",
    "ShardState",
    "finish_shard",
    "start_shard",
    "tell_features",
    "tell_workers",
    "update_shard",
]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ShardState:
    """What a shard keeps between supersteps.

    worker_ids [W]: sorted. rows_of_block, workers_of_block: what it shares with each block, in the
    order of the block's roster. sums, counts: what the blocks sent last, of the rows [Q, .] and of
    the component's pooled rows; None once a layer has used them. facts: once the last posterior is
    known.
    """

    part: Part
    cut: Cut
    worker_ids: list[str]
    layout: CandidateGraph
    rows_of_block: dict[int, IntArray]
    workers_of_block: dict[int, IntArray]
    rows: Floats
    sums: Floats | None
    counts: Floats | None
    facts: WorkerFacts | None = None


@dataclass(frozen=True)
class ScoredShard:
    """What is left of a shard that has told the blocks of its workers; worker_ids [W]: sorted."""

    worker_ids: list[str]
    scored: ScoredWorkers


def start_shard(
    model: UnrolledModel, part: Part, cut: Cut, inbox: Sequence[Message]
) -> tuple[ShardState, list[Message]]:
    """Lay out the workers that the blocks name, and send how their states begin."""
    rosters = bodies(inbox, Roster)
    worker_ids, workers = number_workers(
        {block: roster.worker_ids for block, roster in rosters.items()}
    )
    keys = {
        block: workers[block][roster.pair_worker].astype(np.int64) * cut.sizes.options
        + roster.pair_option
        for block, roster in rosters.items()
    }
    pairs = np.unique(np.concatenate(list(keys.values())))
    of_block = {block: np.searchsorted(pairs, own).astype(np.int32) for block, own in keys.items()}
    count = np.zeros(len(pairs), np.int64)
    for block, roster in rosters.items():
        count[of_block[block]] += roster.pair_count
    graph = _without_tasks(pairs, count, len(worker_ids), cut.sizes.options)
    layout = CandidateGraph.of(graph, part_of=cut.sizes)
    rows_of_block = {block: rows_of_pairs(layout.row_start, own) for block, own in of_block.items()}
    sums, counts = _merged(layout, rows_of_block, inbox)
    sizes = BatchSizes(layout, model.ops)
    rows = model.start_rows(sizes)
    state = ShardState(
        part, cut, worker_ids, layout, rows_of_block, workers, rows, sums=sums, counts=counts
    )
    return state, _pool(model, 0, state, sizes)


def update_shard(
    model: UnrolledModel, layer: int, state: ShardState, inbox: Sequence[Message]
) -> tuple[ShardState, list[Message]]:
    """Update the workers in one layer and send the blocks what their tasks see of them."""
    if layer:
        sums, counts = _merged(state.layout, state.rows_of_block, inbox)
    else:  # they came with the rosters
        assert state.sums is not None
        assert state.counts is not None
        sums, counts = state.sums, state.counts
    parts = [body.states for body in bodies(inbox, PooledStates).values()]
    pooled = Pooled(counts, total_at(state.layout.place_of_pooled, parts, state.rows.dtype))
    sizes = BatchSizes(state.layout, model.ops)
    rows, messages = model.update_rows(layer, sizes, state.rows, sums, pooled)
    state = replace(state, rows=rows, sums=None, counts=None)
    sent = [
        Message(Part(False, block), state.part, RowMessages(messages[own]))
        for block, own in state.rows_of_block.items()
    ]
    if layer + 1 < model.config.layers:
        sent += _pool(model, layer + 1, state, sizes)
    return state, sent


def tell_features(
    model: UnrolledModel, state: ShardState, inbox: Sequence[Message], *, with_factors: bool
) -> tuple[ShardState, list[Message]]:
    """Send the blocks how good their workers are, and the shards how the workers spread.

    with_factors: the shards also what factors of pairs need.
    """
    sums, counts = _merged(state.layout, state.rows_of_block, inbox)
    sizes = BatchSizes(state.layout, model.ops)
    statistics = model.statistics(model.config.layers - 1, sizes, sums[:, :1], counts)
    facts = worker_facts(model.ops, sizes, statistics, counts)
    features = row_features(model.ops, sizes, facts)
    state = replace(state, sums=sums, counts=counts, facts=facts)
    told = [
        Message(Part(False, block), state.part, RowFeatures(features[own], facts.crowd))
        for block, own in state.rows_of_block.items()
    ]
    spread = WorkerSpread(worker_spread(model.ops, sizes, facts))
    sent = [*told, *_to_shards(state, spread)]
    if with_factors:
        component = state.layout.component_of_worker
        of_shard = _count_classes(state).by(component, len(state.layout.components))
        sent += _to_shards(state, ClassSums(of_shard.right, of_shard.total))
    return state, sent


def tell_workers(
    model: UnrolledModel, heads: Tensors, state: ShardState, inbox: Sequence[Message]
) -> tuple[ScoredShard, list[Message]]:
    """Score the workers, and send every block all of them with their factors of pairs."""
    embedded = _embed(model, state, inbox)
    parts = bodies(inbox, ClassSums).values()
    crowd = ClassCounts(*(sum_of([getattr(p, n) for p in parts]) for n in ("right", "total")))
    recall = recall_of_classes(state.layout, _count_classes(state), crowd)
    factors = worker_factors(heads, embedded, recall).astype(np.float32)
    scored = _score(heads, state, embedded, inbox)
    return ScoredShard(state.worker_ids, scored), [
        Message(Part(False, block), state.part, WorkerFactors(state.worker_ids, factors, shared))
        for block, shared in state.workers_of_block.items()
    ]


def finish_shard(
    model: UnrolledModel,
    heads: Tensors,
    state: ShardState | ScoredShard,
    inbox: Sequence[Message],
) -> ScoredWorkers:
    """Return the scores of the shard's workers, in the order of their ids."""
    if isinstance(state, ScoredShard):
        return state.scored
    return _score(heads, state, _embed(model, state, inbox), inbox)


def _count_classes(state: ShardState) -> ClassCounts:
    assert state.sums is not None
    return count_classes(state.layout, state.sums[:, 0].astype(np.float64))


def _embed(model: UnrolledModel, state: ShardState, inbox: Sequence[Message]) -> Floats:
    """Embeddings of the workers, [W, .]."""
    assert state.facts is not None
    assert state.sums is not None
    assert state.counts is not None
    sizes = BatchSizes(state.layout, model.ops)
    spread = sum_of([body.sums for body in bodies(inbox, WorkerSpread).values()])
    embedded: Floats = embed_workers(
        model.ops,
        sizes,
        state.facts,
        rows=model.normed_rows(state.rows),
        sums=state.sums,
        pooled=state.counts,
        spread=model.ops.array(spread),
    )
    return embedded


def _score(
    heads: Tensors, state: ShardState, embedded: Floats, inbox: Sequence[Message]
) -> ScoredWorkers:
    answers = sum_answers(inbox, state.workers_of_block, len(state.worker_ids))
    count = state.layout.graph.workers.degree.astype(np.int64)
    return score_workers(read_out(heads, "ability", embedded), answers, count)


def _merged(
    layout: CandidateGraph, rows_of_block: dict[int, IntArray], inbox: Sequence[Message]
) -> tuple[Floats, Floats]:
    """Add up what the blocks sent: sums of rows [Q, .], and of the component's pooled [., 1]."""
    sent = bodies(inbox, RowSums)
    first = next(iter(sent.values())).rows
    sums = np.zeros((layout.num_rows, first.shape[1]))
    for block, body in sent.items():
        add_at(sums, rows_of_block[block], body.rows)
    parts = [body.counts for body in sent.values()]
    counts = total_at(layout.place_of_pooled, parts, first.dtype)
    return sums.astype(first.dtype), counts


def _pool(model: UnrolledModel, layer: int, state: ShardState, sizes: BatchSizes) -> list[Message]:
    states = model.pool_states(layer, sizes, state.rows)
    return _to_shards(state, PooledStates(Keyed(state.layout.place_of_pooled, states)))


def _to_shards(state: ShardState, body: object) -> list[Message]:
    return [Message(Part(True, s), state.part, body) for s in range(state.cut.shards)]


def _without_tasks(
    pairs: npt.NDArray[np.int64], count: npt.NDArray[np.int64], num_workers: int, options: int
) -> AnnotationGraph:
    """Return a graph of workers with their pairs (worker x options + option) and how often each
    was answered; its annotations cannot be walked."""
    if count.sum() >= 2**31:
        raise ScoringError(
            f"a shard of {num_workers} workers: expected fewer than 2**31 answers, got "
            f"{count.sum()}; lower scoring.max_annotations_per_block"
        )
    nothing = np.zeros(0, np.int32)
    worker = (pairs // options).astype(np.int32)
    workers = Side(
        pair_start=np.searchsorted(worker, np.arange(num_workers + 1)).astype(np.int32),
        pair_centre=worker,
        pair_option=(pairs % options).astype(np.int32),
        entry_start=np.concatenate([[0], np.cumsum(count)]).astype(np.int32),
        neighbour=nothing,
        neighbour_pair=nothing,
        other_entry=nothing,
        chunk_start=np.zeros(1, np.int32),
    )
    zero = np.zeros(1, np.int32)
    tasks = Side(zero, nothing, nothing, zero, nothing, nothing, nothing, zero)
    return AnnotationGraph(
        workers=workers,
        tasks=tasks,
        task_option_start=nothing,
        task_option_end=nothing,
        num_option_rows=options,
    )
