"""The paper's architecture over blocks of tasks and shards of workers.

    blocks: start          .       update 1   .       ...  update L-1      .       finish
    shards: .       update 0       .      update 1    ...  .       update L-1      finish

A block has the states of the workers that it meets, as they were before a layer; it updates its
tasks and sends partial softmax sums per worker, which the worker's shard merges. All draws of
option vectors go side by side. Letters: T tasks, W workers, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.blocks.block_graph import block_graph
from crowdfm_core.blocks.messages import Cut, Message, Part, Superstep, bodies
from crowdfm_core.blocks.results import (
    ScoredBlock,
    answer_messages,
    score_block,
    score_workers,
    sum_answers,
)
from crowdfm_core.blocks.workers import by_shard, number_workers, shards_of
from crowdfm_core.graph import AnnotationGraph, IntArray
from crowdfm_core.inference import (
    LabelledTasks,
    attention_model,
    draw_options,
    embed_draw,
    label_draws,
)
from crowdfm_core.models.attention import AttentionConfig, Partials, merge_partials
from crowdfm_core.read_outs import read_out
from crowdfm_core.scoring import AnnotationBatch, ScoredWorkers
from crowdfm_core.weights import FrozenWeights

__all__ = ["AttentionProgram", "attention_supersteps"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class _Block:
    """tasks: states of each draw, [T, D]; labelled: after the last layer."""

    part: Part
    cut: Cut
    project_id: str
    graph: AnnotationGraph
    workers_of_shard: list[IntArray]
    tasks: list[Floats]
    labelled: LabelledTasks | None = None


@dataclass(frozen=True)
class _Shard:
    """workers: states of each draw, [W, D]; answers [W, 2]: after the last layer."""

    part: Part
    cut: Cut
    worker_ids: list[str]
    workers_of_block: dict[int, IntArray]
    workers: list[Floats]
    num_annotations: npt.NDArray[np.int64]
    answers: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class _Names:
    """From a block to a shard: the shard's workers in the block."""

    worker_ids: list[str]


@dataclass(frozen=True)
class _WorkerPartials:
    """From a block to a shard: sums over the block's annotations, of each draw."""

    draws: list[Partials]


@dataclass(frozen=True)
class _WorkerStates:
    """From a shard to a block: new states of the shared workers, of each draw."""

    draws: list[Floats]


def attention_supersteps(layers: int) -> list[Superstep]:
    """What happens between the start and the finish."""
    steps = [Superstep(side, "update", n) for n in range(layers) for side in (False, True)]
    return steps[1:]  # the first layer of the tasks is part of the start


class AttentionProgram:
    """See `BlockProgram`."""

    def __init__(self, weights: FrozenWeights, *, num_draws: int, max_probabilities: int) -> None:
        self.model = attention_model(weights, NumpyOps())
        self.weights = weights
        self.num_draws = num_draws
        self.max_probabilities = max_probabilities

    def start(
        self,
        part: Part,
        cut: Cut,
        batch: AnnotationBatch,
        worker_ids: Sequence[str],
        *,
        max_bytes: int,
    ) -> tuple[_Block, list[Message]]:
        """See `BlockProgram`."""
        graph = block_graph(self.model.config, cut, batch, max_bytes=max_bytes)
        workers, tasks = self.model.initial_states(graph.num_workers, graph.num_tasks)
        here = by_shard(shards_of(worker_ids, cut.shards), cut.shards)
        state = _Block(part, cut, batch.project_ids[0], graph, here, [tasks] * self.num_draws)
        names = [
            Message(Part(True, shard), part, _Names([worker_ids[int(w)] for w in of_shard]))
            for shard, of_shard in enumerate(here)
        ]
        state, sent = self._update_block(0, state, [workers] * self.num_draws)
        return state, [*names, *sent]

    def run(
        self,
        step: Superstep,
        part: Part,
        cut: Cut,
        state: _Block | _Shard | None,
        inbox: Sequence[Message],
    ) -> tuple[_Block | _Shard, list[Message]]:
        """See `BlockProgram`."""
        if isinstance(state, _Block):
            workers = [
                np.zeros((state.graph.num_workers, self.model.config.width), np.float32)
                for _ in range(self.num_draws)
            ]
            for shard, body in bodies(inbox, _WorkerStates).items():
                for states, sent in zip(workers, body.draws, strict=True):
                    states[state.workers_of_shard[shard]] = sent
            return self._update_block(step.layer, state, workers)
        return self._update_shard(step.layer, state or self._new_shard(part, cut, inbox), inbox)

    def finish_block(self, state: Any, inbox: Sequence[Message]) -> ScoredBlock:
        """See `BlockProgram`."""
        return score_block(state.labelled, state.graph)

    def finish_shard(self, state: Any, inbox: Sequence[Message]) -> tuple[list[str], ScoredWorkers]:
        """See `BlockProgram`."""
        ability = [read_out(self.weights.heads, "ability", workers) for workers in state.workers]
        scored = score_workers(np.mean(ability, axis=0), state.answers, state.num_annotations)
        return state.worker_ids, scored

    def _update_block(
        self, layer: int, state: _Block, workers: list[Floats]
    ) -> tuple[_Block, list[Message]]:
        """Update the tasks; send what the workers see of them as they were before."""
        graph, updated, partials = state.graph, [], []
        number = np.array([state.cut.sizes.options], np.int32)
        all_options = [
            draw_options(self.model, self.weights, [state.project_id], number, draw)
            for draw in range(self.num_draws)
        ]
        for options, states, tasks in zip(all_options, workers, state.tasks, strict=True):
            partials.append(self.model.worker_partials(layer, graph, states, tasks, options))
            updated.append(self.model.update_tasks(layer, graph, states, tasks, options))
        state = replace(state, tasks=updated)
        sent = [
            Message(
                Part(True, shard),
                state.part,
                _WorkerPartials([_part(one, own) for one in partials]),
            )
            for shard, own in enumerate(state.workers_of_shard)
        ]
        if layer + 1 < self.model.config.layers:
            return state, sent
        nothing = np.full(0, np.nan)
        draws = [
            embed_draw(self.model, self.weights, tasks, options, ability=nothing)
            for options, tasks in zip(all_options, updated, strict=True)
        ]
        labelled = label_draws(
            self.weights,
            graph,
            draws,
            ability=nothing,
            max_probabilities=self.max_probabilities,
        )
        sent += answer_messages(state.part, graph, labelled, state.workers_of_shard)
        return replace(state, labelled=labelled), sent

    def _new_shard(self, part: Part, cut: Cut, inbox: Sequence[Message]) -> _Shard:
        named = {block: body.worker_ids for block, body in bodies(inbox, _Names).items()}
        worker_ids, workers_of_block = number_workers(named)
        workers, _ = self.model.initial_states(len(worker_ids), 0)
        nothing = np.zeros(len(worker_ids), np.int64)
        return _Shard(part, cut, worker_ids, workers_of_block, [workers] * self.num_draws, nothing)

    def _update_shard(
        self, layer: int, state: _Shard, inbox: Sequence[Message]
    ) -> tuple[_Shard, list[Message]]:
        """Merge what the blocks saw, update the workers, and send them to the blocks."""
        sent = bodies(inbox, _WorkerPartials)
        workers = []
        for draw, states in enumerate(state.workers):
            whole = _empty_partials(len(states), self.model.config)
            for block, body in sent.items():
                own = state.workers_of_block[block]
                merged = merge_partials(_part(whole, own), body.draws[draw])
                for name, values in vars(whole).items():
                    values[own] = getattr(merged, name)
            in_float32 = Partials(*(x.astype(np.float32) for x in vars(whole).values()))
            workers.append(self.model.update_workers(layer, states, in_float32))
        count = whole.degree.astype(np.int64)
        state = replace(state, workers=workers, num_annotations=count)
        if layer + 1 < self.model.config.layers:
            return state, [
                Message(
                    Part(False, block),
                    state.part,
                    _WorkerStates([states[own] for states in workers]),
                )
                for block, own in state.workers_of_block.items()
            ]
        answers = sum_answers(inbox, state.workers_of_block, len(count))
        return replace(state, answers=answers), []


def _part(partials: Partials, own: IntArray) -> Partials:
    return Partials(*(values[own] for values in vars(partials).values()))


def _empty_partials(workers: int, config: AttentionConfig) -> Partials:
    """Sums over no annotations, in float64."""
    shape = (workers, config.heads, config.width)
    return Partials(
        log_sum=np.full(shape[:2], -np.inf),
        neighbour_sum=np.zeros(shape),
        option_sum=np.zeros(shape),
        degree=np.zeros(workers),
    )
