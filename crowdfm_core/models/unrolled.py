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

The steps of a layer meet in plain sums alone (`Learned`, `Pooled`), so that a component can be cut
into blocks of tasks and shards of workers (crowdfm_core/blocks). Letters: see candidates.py; D
width.
"""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.graph import IntArray
from crowdfm_core.models.answer_statistics import (
    CLIP,
    FLOOR,
    AnswerStatistics,
    answer_statistics,
)
from crowdfm_core.models.embeddings import (
    embed_tasks,
    embed_workers,
    last_sums,
    row_features,
    task_facts,
    task_spread,
    worker_facts,
    worker_spread,
)
from crowdfm_core.models.operations import Array, Operations
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.models.unrolled_sizes import BatchSizes
from crowdfm_core.models.unrolled_states import Learned, Pooled, TaskStates

__all__ = ["UnrolledConfig", "UnrolledModel", "UnrolledOutputs"]

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
        tasks, rows = self.start_tasks(sizes), self.start_rows(sizes)
        logits = []
        for layer in range(self.config.layers):
            learned = self.learn(layer, sizes, tasks)
            expected = learned.rows[:, self.config.width :]
            pooled = Pooled(self.pool_counts(sizes, expected), self.pool_states(layer, sizes, rows))
            rows, messages = self.update_rows(layer, sizes, rows, learned.rows, pooled)
            tasks = self.update_tasks(layer, sizes, tasks, messages, learned.groups)
            logits.append(tasks.logits)
        workers, embedded = self._embed(sizes, tasks, rows)
        return UnrolledOutputs(logits, tasks.log_posterior, workers, embedded)

    def start_tasks(self, sizes: BatchSizes) -> TaskStates:
        """States of the candidates before the first layer, from the votes."""
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

    def start_rows(self, sizes: BatchSizes) -> Array:
        """States [Q, D] of the rows before the first layer, from the numbers of answers."""
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

    def learn(self, layer: int, sizes: BatchSizes, tasks: TaskStates) -> Learned:
        """Sum what a layer's workers learn from the tasks."""
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

    def pool_counts(self, sizes: BatchSizes, expected: Array) -> Array:
        """Sum the expected counts [Q, 1] of all workers, see `Pooled.counts`."""
        layout = sizes.layout
        return self.ops.sum_by(expected, layout.row_pooled, len(layout.pooled_truth))

    def pool_states(self, layer: int, sizes: BatchSizes, rows: Array) -> Array:
        """Sum the states [Q, D] of all workers, see `Pooled.states`."""
        layout, trust = sizes.layout, sizes.row_trust
        weighted = self.ops.concat([self._norm("row", layer, rows) * trust, trust])
        return self.ops.sum_by(weighted, layout.row_pooled, len(layout.pooled_truth))

    def statistics(
        self, layer: int, sizes: BatchSizes, expected: Array, counts: Array
    ) -> AnswerStatistics:
        """What the classical models say, with a layer's smoothing."""
        smoothing = self.ops.exp(self.tensors["smoothing.log"][layer])
        return answer_statistics(self.ops, sizes, smoothing, expected, counts)

    def update_rows(
        self, layer: int, sizes: BatchSizes, rows: Array, learned: Array, pooled: Pooled
    ) -> tuple[Array, Array]:
        """Return the new states [Q, D], and what the tasks see of them [Q, D + 2].

        learned [Q, D + 1]: `Learned.rows` of all tasks; pooled: of all workers of the component.
        """
        ops, layout, width = self.ops, sizes.layout, self.config.width
        use = self.config.statistics
        sums, expected = learned[:, :width], learned[:, width:]
        statistics = self.statistics(layer, sizes, expected, pooled.counts)
        normed = self._norm("row", layer, rows)
        features = [
            normed,
            sums / (sizes.row_count + 1),
            sums / sizes.row_root,
            sizes.row_facts,
            expected / sizes.row_count,
            ops.log(1 + expected),
            statistics.confusion * use,
            statistics.coin * use,
        ]
        truth = ops.sum_by(sums, layout.row_truth, layout.num_truths) / sizes.truth_count
        same = ops.sum_by(
            normed * (sizes.is_same * sizes.row_count), layout.row_worker, len(sizes.worker_count)
        )
        of_pooled = pooled.states[:, :width] / (pooled.states[:, width:] + 1e-3)
        shared = [
            ("truth", truth, layout.row_truth),
            ("worker", same / sizes.worker_count, layout.row_worker),
            ("pooled", of_pooled, layout.row_pooled),
        ]
        rows = rows + self._update("row", layer, features, shared)
        messages = self._times("message", layer, self._norm("message", layer, rows))
        return rows, ops.concat([messages, statistics.confusion, statistics.coin])

    def update_tasks(
        self, layer: int, sizes: BatchSizes, tasks: TaskStates, messages: Array, groups: Array
    ) -> TaskStates:
        """Return the new states from the messages of the tasks' rows [Q, D + 2].

        groups: `Learned.groups` of all tasks of the component.
        """
        ops, layout, width = self.ops, sizes.layout, self.config.width
        use, of_task = self.config.statistics, layout.candidate_task
        sums = ops.rows_to_candidates(messages, layout)
        log_prior = ops.log((groups[:, width:] + 1) / sizes.prior_total)
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
            ("option", groups[:, :width] / sizes.option_tasks, layout.candidate_group),
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

    def normed_rows(self, rows: Array) -> Array:
        """Last states of the rows as read-outs see them, [Q, D]."""
        return self._norm("message", self.config.layers - 1, rows)

    def normed_tasks(self, tasks: TaskStates) -> Array:
        """Last states of the candidates as read-outs see them, [C, D]."""
        return self._norm("task", self.config.layers - 1, tasks.states)

    def _embed(self, sizes: BatchSizes, tasks: TaskStates, rows: Array) -> tuple[Array, Array]:
        """What read-outs see: means of the states, and statistics of the last posterior."""
        ops = self.ops
        sums = last_sums(ops, sizes, tasks.posterior)
        expected = sums.rows[:, :1]
        counts = self.pool_counts(sizes, expected)
        statistics = self.statistics(self.config.layers - 1, sizes, expected, counts)
        of_workers = worker_facts(ops, sizes, statistics, counts)
        features = row_features(ops, sizes, of_workers)
        of_tasks = task_facts(ops, sizes, tasks, features, of_workers.crowd)
        workers = embed_workers(
            ops,
            sizes,
            of_workers,
            rows=self.normed_rows(rows),
            sums=sums.rows,
            pooled=counts,
            spread=worker_spread(ops, sizes, of_workers),
        )
        embedded = embed_tasks(
            ops,
            sizes,
            tasks,
            of_tasks,
            normed=self.normed_tasks(tasks),
            groups=sums.groups,
            crowd=of_workers.crowd,
            spread=task_spread(ops, sizes, of_tasks),
        )
        return workers, embedded
