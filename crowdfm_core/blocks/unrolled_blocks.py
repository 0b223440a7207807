"""The unrolled model on one block of a component's tasks.

A block holds all annotations of its tasks. It updates their states alone, from the messages of the
shards of its workers, and sends the sums that the shards and the other blocks need.
Letters: see candidates.py; rows and pairs are those of the block's annotations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.assignments import assign_workers
from crowdfm_core.blocks.block_graph import block_graph
from crowdfm_core.blocks.messages import Cut, Keyed, Message, Part, bodies, sum_of, total_at
from crowdfm_core.blocks.results import ScoredBlock, answer_messages, score_block
from crowdfm_core.blocks.unrolled_messages import (
    GroupSums,
    Roster,
    RowFeatures,
    RowMessages,
    RowSums,
    SurenessSums,
    TaskSpread,
    rows_of_pairs,
)
from crowdfm_core.blocks.unrolled_workers import all_workers
from crowdfm_core.blocks.workers import by_shard, shards_of
from crowdfm_core.calibration import calibrate, sureness_sums
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.compatibility import belief_in_classes, log_odds_of_crowd, task_factors
from crowdfm_core.graph import AnnotationGraph, IntArray
from crowdfm_core.inference import LabelledTasks, label_posterior
from crowdfm_core.models.embeddings import (
    TaskFacts,
    embed_tasks,
    last_sums,
    task_facts,
    task_spread,
)
from crowdfm_core.models.unrolled import UnrolledModel
from crowdfm_core.models.unrolled_sizes import BatchSizes
from crowdfm_core.models.unrolled_states import TaskStates
from crowdfm_core.read_outs import Tensors, read_out
from crowdfm_core.scoring import AnnotationBatch

__all__ = ["BlockState", "finish_block", "start_block", "tell_facts", "update_block"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class BlockState:
    """What a block keeps between supersteps.

    rows_of_shard, workers_of_shard: what it shares with each shard, in the order of its roster.
    A state travels between layers: its graph has only what these walk, and tasks have no logits,
    which nobody reads. Of the read-outs, once known: facts, crowd, groups (`LastSums.groups` of the
    whole component), labels without the difficulty, and for assignments crowd_odds [1], the log
    odds of the whole component's expected accuracy.
    """

    part: Part
    cut: Cut
    layout: CandidateGraph
    rows_of_shard: list[IntArray]
    workers_of_shard: list[IntArray]
    tasks: TaskStates
    facts: TaskFacts | None = None
    crowd: Floats | None = None
    groups: Floats | None = None
    crowd_odds: npt.NDArray[np.float64] | None = None
    labelled: LabelledTasks | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """The layout is made anew faster than it travels."""
        rest = {name: value for name, value in vars(self).items() if name != "layout"}
        return _arrived, (self.layout.graph, rest)


def start_block(
    model: UnrolledModel,
    part: Part,
    cut: Cut,
    batch: AnnotationBatch,
    worker_ids: Sequence[str],
    *,
    max_bytes: int,
) -> tuple[BlockState, list[Message]]:
    """Lay out a block of one project and send what the first layer's workers learn from it.

    worker_ids [W]: names of the batch's workers, alike in all blocks. Raises ScoringError where
    the block needs more than max_bytes.
    """
    graph = _walked(block_graph(model.config, cut, batch, max_bytes=max_bytes))
    layout = CandidateGraph.of(graph, part_of=cut.sizes)
    sizes = BatchSizes(layout, model.ops)
    shard = shards_of(worker_ids, cut.shards)
    workers = by_shard(shard, cut.shards)
    pairs = by_shard(shard[graph.workers.pair_centre], cut.shards)
    state = BlockState(
        part,
        cut,
        layout,
        rows_of_shard=[rows_of_pairs(layout.row_start, own) for own in pairs],
        workers_of_shard=workers,
        tasks=_without_logits(model.start_tasks(sizes)),
    )
    size = np.diff(graph.workers.entry_start)
    rosters = [
        Roster(
            worker_ids=[worker_ids[int(w)] for w in here],
            pair_worker=np.searchsorted(here, graph.workers.pair_centre[own]).astype(np.int32),
            pair_option=graph.workers.pair_option[own],
            pair_count=size[own].astype(np.int32),
        )
        for here, own in zip(workers, pairs, strict=True)
    ]
    return state, [*_to_shards(state, rosters), *_learn(model, 0, state, sizes)]


def update_block(
    model: UnrolledModel, layer: int, state: BlockState, inbox: Sequence[Message]
) -> tuple[BlockState, list[Message]]:
    """Update the tasks in one layer and send what the workers' next one, or the read-outs, need."""
    sizes = BatchSizes(state.layout, model.ops)
    messages = _gathered(state, {s: body.rows for s, body in bodies(inbox, RowMessages).items()})
    groups = _all_groups(state, inbox)
    tasks = model.update_tasks(layer, sizes, state.tasks, messages, groups)
    state = replace(state, tasks=_without_logits(tasks))
    if layer + 1 < model.config.layers:
        return state, _learn(model, layer + 1, state, sizes)
    sums = last_sums(model.ops, sizes, tasks.posterior)
    sure = SurenessSums(sureness_sums(state.layout, tasks.log_posterior[:, 0]))
    shared = _share(model, state, sizes, sums.rows, sums.rows[:, :1], sums.groups)
    return state, [*shared, *_to_blocks(state, sure)]


def tell_facts(
    model: UnrolledModel,
    heads: Tensors,
    state: BlockState,
    inbox: Sequence[Message],
    *,
    max_probabilities: int,
    with_factors: bool,
) -> tuple[BlockState, list[Message]]:
    """Label the tasks; send what that says of the workers, and how the tasks spread.

    with_factors: also keep what factors of pairs need.
    """
    sizes = BatchSizes(state.layout, model.ops)
    told = bodies(inbox, RowFeatures)
    crowd = next(iter(told.values())).crowd  # the same from every shard
    features = _gathered(state, {s: body.rows for s, body in told.items()})
    facts = task_facts(model.ops, sizes, state.tasks, features, crowd)
    nothing = np.full(0, np.nan)
    sums = sum_of([body.sums for body in bodies(inbox, SurenessSums).values()])
    labelled = label_posterior(
        state.layout,
        calibrate(heads, state.layout, state.tasks.log_posterior[:, 0], sums=sums),
        ability=nothing,
        difficulty=nothing,
        max_probabilities=max_probabilities,
    )
    groups = _all_groups(state, inbox)
    state = replace(state, facts=facts, crowd=crowd, groups=groups, labelled=labelled)
    if with_factors:
        by_option = [body.groups.values for body in bodies(inbox, GroupSums).values()]
        right, answers = np.concatenate(by_option).sum(axis=0, dtype=np.float64)
        state = replace(state, crowd_odds=log_odds_of_crowd(right[None], answers[None]))
    graph = state.layout.graph
    told_of = answer_messages(state.part, graph, labelled, state.workers_of_shard)
    spread = TaskSpread(task_spread(model.ops, sizes, facts))
    return state, [*told_of, *_to_blocks(state, spread)]


def finish_block(
    model: UnrolledModel,
    heads: Tensors,
    state: BlockState,
    inbox: Sequence[Message],
    *,
    rule: AssignmentRule | None,
) -> ScoredBlock:
    """Return the scores of the block's tasks; with a rule, of which the shards must have told all
    workers, also to whom they are assigned."""
    assert state.facts is not None
    assert state.labelled is not None
    sizes = BatchSizes(state.layout, model.ops)
    spread = sum_of([body.sums for body in bodies(inbox, TaskSpread).values()])
    embedded = embed_tasks(
        model.ops,
        sizes,
        state.tasks,
        state.facts,
        normed=model.normed_tasks(state.tasks),
        groups=state.groups,
        crowd=state.crowd,
        spread=model.ops.array(spread),
    )
    labelled = replace(state.labelled, difficulty=read_out(heads, "difficulty", embedded))
    scored = score_block(labelled, state.layout.graph)
    if rule is None:
        return scored
    assert state.crowd_odds is not None
    posterior = np.exp(state.tasks.log_posterior[:, 0].astype(np.float64))
    belief = belief_in_classes(state.layout, posterior)
    odds = np.repeat(state.crowd_odds, len(belief))
    workers = all_workers(state.layout.graph, state.workers_of_shard, inbox)
    return replace(
        scored,
        worker_ids=workers.ids,
        assigned=assign_workers(
            rule,
            workers.pair_factors(task_factors(heads, embedded, belief, odds)),
            workers.answered,
            labelled.probability,
        ),
    )


def _arrived(graph: AnnotationGraph, rest: dict[str, Any]) -> BlockState:
    return BlockState(layout=CandidateGraph.of(graph, part_of=rest["cut"].sizes), **rest)


def _walked(graph: AnnotationGraph) -> AnnotationGraph:
    """Leave out what the layers never read, half of the graph."""
    nothing = np.zeros(0, np.int32)
    return replace(
        graph,
        tasks=replace(graph.tasks, neighbour=nothing, other_entry=nothing),
        workers=replace(graph.workers, neighbour_pair=nothing, other_entry=nothing),
    )


def _without_logits(tasks: TaskStates) -> TaskStates:
    return replace(tasks, logits=np.zeros((0, 1), tasks.logits.dtype))


def _learn(model: UnrolledModel, layer: int, state: BlockState, sizes: BatchSizes) -> list[Message]:
    learned = model.learn(layer, sizes, state.tasks)
    expected = learned.rows[:, model.config.width :]
    return _share(model, state, sizes, learned.rows, expected, learned.groups)


def _share(
    model: UnrolledModel,
    state: BlockState,
    sizes: BatchSizes,
    rows: Floats,
    expected: Floats,
    groups: Floats,
) -> list[Message]:
    """Send sums by row to the shards, and sums by option to the blocks."""
    layout = state.layout
    counts = Keyed(layout.place_of_pooled, model.pool_counts(sizes, expected))
    sums = [RowSums(rows[own], counts) for own in state.rows_of_shard]
    by_option = GroupSums(Keyed(layout.option_of_group, groups))
    return [*_to_shards(state, sums), *_to_blocks(state, by_option)]


def _to_shards(state: BlockState, sent: Sequence[object]) -> list[Message]:
    return [Message(Part(True, s), state.part, body) for s, body in enumerate(sent)]


def _to_blocks(state: BlockState, body: object) -> list[Message]:
    return [Message(Part(False, b), state.part, body) for b in range(state.cut.blocks)]


def _gathered(state: BlockState, of_shard: Mapping[int, Floats]) -> Floats:
    """Bring what every shard sent of its rows into the block's order."""
    first = next(iter(of_shard.values()))
    rows = np.empty((state.layout.num_rows, first.shape[1]), first.dtype)
    for shard, values in of_shard.items():
        rows[state.rows_of_shard[shard]] = values
    return rows


def _all_groups(state: BlockState, inbox: Sequence[Message]) -> Floats:
    parts = [body.groups for body in bodies(inbox, GroupSums).values()]
    return total_at(state.layout.option_of_group, parts, parts[0].values.dtype)
