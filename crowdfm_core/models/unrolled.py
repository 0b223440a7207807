"""Expectation-maximisation unrolled into layers with learned states; no random option vectors.

Every candidate (t, k) of a task and every row (w, o, k) of a worker, answered option and true
option has a state of length D. A layer first lets the workers learn from the present posterior p
of the tasks (the maximisation step), then the tasks from the workers' rows (the expectation step):

    n[w,o,k] = sum of p[t,k] over the worker's annotations with answer o
    c[w,o,k] += MLP(c, sums of the tasks' states, n, smoothed log confusions, means over workers)
    s[t,k]   += MLP(s, sums of messages from c[w,o,k], log posteriors of the classical models,
                    means over options and over tasks, what the component looks like)
    p = softmax over k of <u, LN s[t,k]> + sum over the classical models of trust x log posterior

The statistics of the classical models enter as features and, weighted by a learned trust, as
logits: the confusion of Dawid and Skene (1979) shrunk towards the crowd's pooled one, as in
hierarchical models, and the one-coin model. So an untrained model starts near the classical ones,
and learns where they are wrong. Everything is equivariant to the order of tasks, workers and
options.

The steps of a layer meet in plain sums alone (`Learned`), so that a component can be cut into
blocks of tasks. Letters: see candidates.py; D width.
"""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.graph import IntArray
from crowdfm_core.models.answer_statistics import (
    CLIP,
    FLOOR,
    answer_statistics,
)
from crowdfm_core.models.embeddings import LastStates, embed_tasks, embed_workers
from crowdfm_core.models.operations import Array, Operations
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.models.unrolled_sizes import BatchSizes

__all__ = ["Learned", "TaskStates", "UnrolledConfig", "UnrolledModel", "UnrolledOutputs"]

Tensors = dict[str, Array]


@dataclass(frozen=True)
class UnrolledOutputs:
    """logits: per layer [C, 1]; the last is the answer, the others are supervised in training.

    workers and tasks are what read-outs of ability and difficulty see: [W, .] and [T, .] of the
    configuration's `embedding_widths`.
    """

    logits: list[Array]
    log_posterior: Array
    workers: Array
    tasks: Array


@dataclass(frozen=True)
class TaskStates:
    """states [C, D] of the candidates; logits, log posteriors and posteriors, [C, 1] each."""

    states: Array
    logits: Array
    log_posterior: Array
    posterior: Array


@dataclass(frozen=True)
class Learned:
    """Plain sums over tasks and annotations, from the states before a layer.

    rows [Q, D + 1]: of values and of p over each row's annotations; groups [I, D + 1]: of
    normalised states and of p over the tasks of a component, per option.
    """

    rows: Array
    groups: Array


class UnrolledModel:
    """The frozen model as steps per layer over a backend's arrays."""

    def __init__(self, config: UnrolledConfig, tensors: Tensors, ops: Operations) -> None:
        """Take `tensors` named and shaped as in `UnrolledConfig.tensor_shapes`."""
        self.config = config
        self.tensors = tensors
        self.ops = ops

    def run(self, layout: CandidateGraph) -> UnrolledOutputs:
        """Run all layers over one batch."""
        sizes = BatchSizes(layout, self.ops)
        tasks, rows = self._start_tasks(sizes), self._start_rows(sizes)
        logits = []
        for layer in range(self.config.layers):
            learned = self._learn(layer, sizes, tasks)
            rows, messages = self._update_rows(layer, sizes, rows, learned)
            tasks = self._update_tasks(layer, sizes, tasks, messages, learned)
            logits.append(tasks.logits)
        workers, embedded = self._embed(sizes, tasks, rows)
        return UnrolledOutputs(logits, tasks.log_posterior, workers, embedded)

    def _start_tasks(self, sizes: BatchSizes) -> TaskStates:
        ops = self.ops
        features = [
            sizes.vote_share,
            ops.log(1 + sizes.votes),
            sizes.lead,
            ops.take(sizes.log_answers, sizes.layout.candidate_task),
            ops.take(sizes.log_options, sizes.component_of_candidate),
        ]
        return TaskStates(
            states=self._two_layers("start.task", features),
            logits=sizes.vote_share * 0,
            log_posterior=ops.log(sizes.vote_share + FLOOR),
            posterior=sizes.vote_share,
        )

    def _start_rows(self, sizes: BatchSizes) -> Array:
        ops = self.ops
        features = [
            sizes.is_same,
            sizes.is_tied,
            sizes.log_row_count,
            ops.take(sizes.log_worker_count, sizes.layout.row_worker),
            sizes.row_count / ops.take(sizes.worker_count, sizes.layout.row_worker),
            ops.take(sizes.log_options, sizes.component_of_row),
        ]
        return self._two_layers("start.row", features)

    def _two_layers(self, name: str, columns: list[Array]) -> Array:
        """Run the network that a task's or a row's state starts from."""
        return self.ops.two_layers(
            columns,
            [],
            self.tensors[f"{name}.hidden.weight"],
            self.tensors[f"{name}.hidden.bias"],
            self.tensors[f"{name}.output.weight"],
            self.tensors[f"{name}.output.bias"],
        )

    def _norm(self, name: str, layer: int, x: Array) -> Array:
        scale, shift = self._of_layer(f"{name}.norm.scale", layer), f"{name}.norm.shift"
        return self.ops.layer_norm(x, scale, self._of_layer(shift, layer))

    def _times(self, name: str, layer: int, x: Array) -> Array:
        return self.ops.rows_times(x, self._of_layer(f"{name}.weight", layer))

    def _of_layer(self, name: str, layer: int) -> Array:
        return self.tensors[name][0 if self.config.shared else layer]

    def _learn(self, layer: int, sizes: BatchSizes, tasks: TaskStates) -> Learned:
        ops, layout, width = self.ops, sizes.layout, self.config.width
        values = self._times("value", layer, self._norm("value", layer, tasks.states))
        certain = values[:, width:] + self._of_layer("value.posterior.weight", layer)
        values = values[:, :width] + tasks.posterior * certain
        normed = self._norm("task", layer, tasks.states)
        return Learned(
            rows=ops.candidates_to_rows(ops.concat([values, tasks.posterior]), layout),
            groups=ops.sum_by(
                ops.concat([normed, tasks.posterior]),
                layout.candidate_group,
                len(layout.component_of_group),
            ),
        )

    def _update_rows(
        self, layer: int, sizes: BatchSizes, rows: Array, learned: Learned
    ) -> tuple[Array, Array]:
        """Return the new states [Q, D], and what the tasks see of them [Q, D + 2]."""
        ops, layout, width = self.ops, sizes.layout, self.config.width
        use = self.config.statistics
        sums, expected = learned.rows[:, :width], learned.rows[:, width:]
        smoothing = ops.exp(self.tensors["smoothing.log"][layer])
        statistics = answer_statistics(ops, sizes, smoothing, expected)
        normed = self._norm("row", layer, rows)
        features = [
            normed,
            sums / (sizes.row_count + 1),
            sums / sizes.row_root,
            sizes.is_same,
            sizes.is_tied,
            sizes.log_row_count,
            ops.take(sizes.log_worker_count, layout.row_worker),
            expected / sizes.row_count,
            ops.log(1 + expected),
            statistics.confusion * use,
            statistics.coin * use,
        ]
        truth = ops.sum_by(sums, layout.row_truth, layout.num_truths) / sizes.truth_count
        same = ops.sum_by(
            normed * (sizes.is_same * sizes.row_count), layout.row_worker, len(sizes.worker_count)
        )
        pooled = ops.sum_by(normed * sizes.row_trust, layout.row_pooled, len(layout.pooled_truth))
        shared = [
            ("truth", truth, layout.row_truth),
            ("worker", same / sizes.worker_count, layout.row_worker),
            ("pooled", pooled / sizes.pooled_trust, layout.row_pooled),
        ]
        rows = rows + self._update("row", layer, features, shared)
        messages = self._times("message", layer, self._norm("message", layer, rows))
        return rows, ops.concat([messages, statistics.confusion, statistics.coin])

    def _update_tasks(
        self,
        layer: int,
        sizes: BatchSizes,
        tasks: TaskStates,
        messages: Array,
        learned: Learned,
    ) -> TaskStates:
        ops, layout, width = self.ops, sizes.layout, self.config.width
        use, of_task = self.config.statistics, layout.candidate_task
        sums = ops.rows_to_candidates(messages, layout)
        log_prior = ops.log((learned.groups[:, width:] + 1) / sizes.prior_total)
        log_prior = ops.take(log_prior, layout.candidate_group)
        joints = sums[:, width:] + log_prior
        classical = ops.at_least(self._log_softmax(sizes, joints), -CLIP)
        normed = self._norm("task", layer, tasks.states)
        root = ops.take(sizes.root_answers, of_task)
        features = [
            normed,
            sums[:, :width] / ops.take(sizes.answers, of_task),
            sums[:, :width] / root,
            sizes.vote_share,
            tasks.posterior,
            log_prior,
            classical * use,
            ops.exp(classical) * use,
            ops.at_least(joints / root, -CLIP) * use,
        ]
        mean = ops.sum_by(normed, of_task, len(sizes.answers)) / sizes.candidates
        mean = ops.concat([mean, sizes.log_answers, sizes.log_task_options])
        shared = [
            ("mean", mean, of_task),
            ("option", learned.groups[:, :width] / sizes.option_tasks, layout.candidate_group),
        ]
        states = tasks.states + self._update("task", layer, features, shared)
        logits = self._answer(states)
        if use:
            logits = logits + (self.tensors["trust"][layer] * classical).sum(1, keepdims=True)
        log_posterior = self._log_softmax(sizes, logits)
        return TaskStates(states, logits, log_posterior, ops.exp(log_posterior))

    def _update(
        self,
        name: str,
        layer: int,
        own: list[Array],
        shared: list[tuple[str, Array, IntArray]],
    ) -> Array:
        """Return what a network makes of every row of a side, [N, outputs].

        own: features [N, .]; shared: what groups of rows have in common, as a name, features
        [I, .] and the group of each row [N], multiplied once per group.
        """
        return self.ops.two_layers(
            own,
            [(self._times(f"{name}.{part}", layer, x), index) for part, x, index in shared],
            self._of_layer(f"{name}.own.weight", layer),
            self._of_layer(f"{name}.hidden.bias", layer),
            self._of_layer(f"{name}.output.weight", layer),
            self._of_layer(f"{name}.output.bias", layer),
        )

    def _answer(self, states: Array) -> Array:
        scale, shift = self.tensors["output.norm.scale"], self.tensors["output.norm.shift"]
        normed = self.ops.layer_norm(states, scale, shift)
        return self.ops.rows_times(normed, self.tensors["output.weight"])

    def _log_softmax(self, sizes: BatchSizes, logits: Array) -> Array:
        ops, layout = self.ops, sizes.layout
        top = ops.group_max(logits, layout.candidate_start)
        logits = logits - ops.take(top, layout.candidate_task)
        total = ops.sum_by(ops.exp(logits), layout.candidate_task, len(sizes.answers))
        return logits - ops.take(ops.log(total), layout.candidate_task)

    def _embed(self, sizes: BatchSizes, tasks: TaskStates, rows: Array) -> tuple[Array, Array]:
        """What read-outs see: means of the states, and statistics of the last posterior."""
        ops, layer = self.ops, self.config.layers - 1
        expected = ops.candidates_to_rows(tasks.posterior, sizes.layout)
        smoothing = ops.exp(self.tensors["smoothing.log"][layer])
        last = LastStates(
            rows=self._norm("message", layer, rows),
            tasks=self._norm("task", layer, tasks.states),
            posterior=tasks.posterior,
            log_posterior=tasks.log_posterior,
            statistics=answer_statistics(ops, sizes, smoothing, expected),
        )
        return embed_workers(ops, sizes, last), embed_tasks(ops, sizes, last)
