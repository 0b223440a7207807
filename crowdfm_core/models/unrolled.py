"""Expectation-maximisation unrolled into layers with learned states; no random option vectors.

Every candidate (t, k) of a task and every row (w, o, k) of a worker, answered option and true
option has a state of length D. A layer first lets the workers learn from the present posterior p
of the tasks (the maximisation step), then the tasks from the workers' rows (the expectation step):

    n[w,o,k] = sum of p[t,k] over the worker's annotations with answer o
    c[w,o,k] += MLP(c, sums of the tasks' states, n, smoothed log confusions, means over workers)
    s[t,k]   += MLP(s, sums of messages from c[w,o,k], log posteriors of the classical models,
                    means over options and over tasks)
    p = softmax over k of <u, LN s[t,k]>

The statistics of the classical models enter as features and, weighted by a learned trust, as
logits: the confusion of Dawid and Skene (1979) shrunk towards the crowd's pooled one, as in
hierarchical models, and the one-coin model. So an untrained model starts near the classical ones,
and learns where they are wrong. Everything is equivariant to the order of tasks, workers and
options.

Letters: see candidates.py; D width, F hidden width, L layers.
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
    TASK_SCALARS,
    WORKER_SCALARS,
    LastStates,
    embed_tasks,
    embed_workers,
)
from crowdfm_core.models.operations import Array, Operations
from crowdfm_core.models.unrolled_sizes import BatchSizes

__all__ = ["UnrolledConfig", "UnrolledModel", "UnrolledOutputs"]

Tensors = dict[str, Array]

_TASK_START = 5  # features of a candidate and of a row that the states start from
_ROW_START = 6
_ROW_SCALARS = 8
_CANDIDATE_SCALARS = 9
_TASK_SCALARS = 2


@dataclass(frozen=True)
class UnrolledConfig:
    """Sizes of the architecture.

    statistics: whether the classical models' enter. shared: whether all layers have the same
    weights, apart from how the statistics are smoothed and trusted.
    """

    width: int = 16
    layers: int = 5
    hidden: int = 48
    statistics: bool = True
    shared: bool = True

    def embedding_widths(self) -> dict[str, int]:
        """Width of what the read-outs see: ability from workers, difficulty from tasks."""
        return {
            "ability": 2 * self.width + WORKER_SCALARS,
            "difficulty": 2 * self.width + TASK_SCALARS,
        }

    def fan_in(self, name: str) -> int:
        """Inputs of a weight: its last axis but one is the one that is summed over."""
        return self.tensor_shapes()[name][-2]

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor; weights are [..., inputs, outputs]."""
        layers = 1 if self.shared else self.layers
        width, hidden = self.width, self.hidden
        shapes: dict[str, tuple[int, ...]] = {"output.weight": (width, 1)}
        for name, inputs in (("task", _TASK_START), ("row", _ROW_START)):
            shapes |= {
                f"start.{name}.hidden.weight": (inputs, hidden),
                f"start.{name}.hidden.bias": (hidden,),
                f"start.{name}.output.weight": (hidden, width),
                f"start.{name}.output.bias": (width,),
            }
        for norm in ("output", "value", "row", "message", "task"):
            stacked = () if norm == "output" else (layers,)
            shapes[f"{norm}.norm.scale"] = (*stacked, width)
            shapes[f"{norm}.norm.shift"] = (*stacked, width)
        shapes |= {
            "value.weight": (layers, width, 2 * width),
            "value.posterior.weight": (layers, 1, width),
            "row.own.weight": (layers, 3 * width + _ROW_SCALARS, hidden),
            "row.truth.weight": (layers, width, hidden),
            "row.worker.weight": (layers, width, hidden),
            "row.pooled.weight": (layers, width, hidden),
            "row.hidden.bias": (layers, hidden),
            "row.output.weight": (layers, hidden, width),
            "row.output.bias": (layers, width),
            "message.weight": (layers, width, width),
            "task.own.weight": (layers, 3 * width + _CANDIDATE_SCALARS, hidden),
            "task.mean.weight": (layers, width + _TASK_SCALARS, hidden),
            "task.option.weight": (layers, width, hidden),
            "task.hidden.bias": (layers, hidden),
            "task.output.weight": (layers, hidden, width),
            "task.output.bias": (layers, width),
            "smoothing.log": (self.layers, 3),
        }
        if self.statistics:
            shapes["trust"] = (self.layers, 2)
        return shapes


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
        tasks, rows = self._start(sizes)
        logits = []
        log_posterior = self.ops.log(sizes.vote_share + FLOOR)
        posterior = sizes.vote_share
        for layer in range(self.config.layers):
            learned = self._sums(layer, sizes, tasks, posterior)
            smoothing = self.ops.exp(self.tensors["smoothing.log"][layer])
            statistics = answer_statistics(self.ops, sizes, smoothing, learned[:, -1:])
            rows = self._update_rows(layer, sizes, rows, learned, statistics)
            tasks, classical = self._update_tasks(layer, sizes, tasks, rows, posterior, statistics)
            logits.append(self._logits(tasks, layer, classical))
            log_posterior = self._log_softmax(sizes, logits[-1])
            posterior = self.ops.exp(log_posterior)
        workers, embedded = self._embed(sizes, tasks, rows, posterior, log_posterior)
        return UnrolledOutputs(logits, log_posterior, workers, embedded)

    def _start(self, sizes: BatchSizes) -> tuple[Array, Array]:
        ops = self.ops
        task = [
            sizes.vote_share,
            ops.log(1 + sizes.votes),
            sizes.lead,
            ops.take(sizes.log_answers, sizes.layout.candidate_task),
            ops.take(sizes.log_options, sizes.component_of_candidate),
        ]
        row = [
            sizes.is_same,
            sizes.is_tied,
            sizes.log_row_count,
            ops.take(sizes.log_worker_count, sizes.layout.row_worker),
            sizes.row_count / ops.take(sizes.worker_count, sizes.layout.row_worker),
            ops.take(sizes.log_options, sizes.component_of_row),
        ]
        return self._two_layers("start.task", task), self._two_layers("start.row", row)

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

    def _sums(self, layer: int, sizes: BatchSizes, tasks: Array, posterior: Array) -> Array:
        """Sums over each row's annotations: of values of the tasks [Q, D], and of p [Q, 1]."""
        width = self.config.width
        values = self._times("value", layer, self._norm("value", layer, tasks))
        certain = values[:, width:] + self._of_layer("value.posterior.weight", layer)
        values = self.ops.concat([values[:, :width] + posterior * certain, posterior])
        return self.ops.candidates_to_rows(values, sizes.layout)

    def _update_rows(
        self,
        layer: int,
        sizes: BatchSizes,
        rows: Array,
        learned: Array,
        statistics: AnswerStatistics,
    ) -> Array:
        ops, layout, width = self.ops, sizes.layout, self.config.width
        normed = self._norm("row", layer, rows)
        sums = learned[:, :width]
        expected = statistics.expected
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
            statistics.confusion * self.config.statistics,
            statistics.coin * self.config.statistics,
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
        return rows + self._update("row", layer, features, shared)

    def _update_tasks(
        self,
        layer: int,
        sizes: BatchSizes,
        tasks: Array,
        rows: Array,
        posterior: Array,
        statistics: AnswerStatistics,
    ) -> tuple[Array, Array]:
        """Return the new states, and the log posteriors of the two classical models [C, 2]."""
        ops, layout, width = self.ops, sizes.layout, self.config.width
        messages = self._times("message", layer, self._norm("message", layer, rows))
        sums = ops.rows_to_candidates(
            ops.concat([messages, statistics.confusion, statistics.coin]), layout
        )
        prior = ops.sum_by(posterior, layout.candidate_group, len(layout.component_of_group))
        log_prior = ops.log((prior + 1) / sizes.prior_total)
        log_prior = ops.take(log_prior, layout.candidate_group)
        root = ops.take(sizes.root_answers, layout.candidate_task)
        classical = ops.at_least(self._log_softmax(sizes, sums[:, width:] + log_prior), -CLIP)
        normed = self._norm("task", layer, tasks)
        evidence = sums[:, :width]
        use = self.config.statistics
        features = [
            normed,
            evidence / ops.take(sizes.answers, layout.candidate_task),
            evidence / root,
            sizes.vote_share,
            posterior,
            log_prior,
            classical * use,
            ops.exp(classical) * use,
            ops.at_least((sums[:, width:] + log_prior) / root, -CLIP) * use,
        ]
        mean = ops.sum_by(normed, layout.candidate_task, len(sizes.answers)) / sizes.candidates
        mean = ops.concat([mean, sizes.log_answers, sizes.log_task_options])
        option = ops.sum_by(normed, layout.candidate_group, len(layout.component_of_group))
        shared = [
            ("mean", mean, layout.candidate_task),
            ("option", option / sizes.option_tasks, layout.candidate_group),
        ]
        return tasks + self._update("task", layer, features, shared), classical

    def _update(
        self,
        name: str,
        layer: int,
        own: list[Array],
        shared: list[tuple[str, Array, IntArray]],
    ) -> Array:
        """Return the change of all states of a side, [N, D].

        own: features [N, .]; shared: what groups of rows have in common, as a name, features
        [G, .] and the group of each row [N], multiplied once per group.
        """
        return self.ops.two_layers(
            own,
            [(self._times(f"{name}.{part}", layer, x), index) for part, x, index in shared],
            self._of_layer(f"{name}.own.weight", layer),
            self._of_layer(f"{name}.hidden.bias", layer),
            self._of_layer(f"{name}.output.weight", layer),
            self._of_layer(f"{name}.output.bias", layer),
        )

    def _logits(self, tasks: Array, layer: int, classical: Array) -> Array:
        tensors = self.tensors
        normed = self.ops.layer_norm(
            tasks, tensors["output.norm.scale"], tensors["output.norm.shift"]
        )
        logits = self.ops.rows_times(normed, tensors["output.weight"])
        if self.config.statistics:
            trust = tensors["trust"][layer]
            logits = logits + trust[0] * classical[:, :1] + trust[1] * classical[:, 1:]
        return logits

    def _log_softmax(self, sizes: BatchSizes, logits: Array) -> Array:
        ops, layout = self.ops, sizes.layout
        top = ops.group_max(logits, layout.candidate_start)
        logits = logits - ops.take(top, layout.candidate_task)
        total = ops.sum_by(ops.exp(logits), layout.candidate_task, len(sizes.answers))
        return logits - ops.take(ops.log(total), layout.candidate_task)

    def _embed(
        self, sizes: BatchSizes, tasks: Array, rows: Array, posterior: Array, log_posterior: Array
    ) -> tuple[Array, Array]:
        """What read-outs see: means of the states, and statistics of the last posterior."""
        ops, layer = self.ops, self.config.layers - 1
        expected = ops.candidates_to_rows(posterior, sizes.layout)
        smoothing = ops.exp(self.tensors["smoothing.log"][layer])
        last = LastStates(
            rows=self._norm("message", layer, rows),
            tasks=self._norm("task", layer, tasks),
            posterior=posterior,
            log_posterior=log_posterior,
            statistics=answer_statistics(ops, sizes, smoothing, expected),
        )
        return embed_workers(ops, sizes, last), embed_tasks(ops, sizes, last)
