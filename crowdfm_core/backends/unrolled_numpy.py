"""The unrolled model for inference on the CPU: the steps of both sides as compiled loops."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.layouts import wide, wide_norm
from crowdfm_core.backends.learn_kernels import learn_few_rows, sum_groups, task_values
from crowdfm_core.backends.numpy_backend import even_ranges, has_few_rows
from crowdfm_core.backends.row_kernels import update_rows
from crowdfm_core.backends.unrolled_kernels import update_tasks
from crowdfm_core.graph import even_chunks
from crowdfm_core.models.answer_statistics import crowd_accuracy
from crowdfm_core.models.unrolled import UnrolledModel
from crowdfm_core.models.unrolled_sizes import BatchSizes
from crowdfm_core.models.unrolled_states import Learned, Pooled, TaskStates

__all__ = ["CompiledUnrolledModel"]

FloatArray = npt.NDArray[np.floating[Any]]


class CompiledUnrolledModel(UnrolledModel):
    """`UnrolledModel` over `NumpyOps`, the steps of every layer written as loops."""

    def learn(self, layer: int, sizes: BatchSizes, tasks: TaskStates) -> Learned:
        """See `UnrolledModel.learn`."""
        layout, of, width = sizes.layout, self._of_layer, self.config.width
        states, posterior = wide(tasks.states), tasks.posterior[:, 0]
        weight = wide(of("value.weight", layer).reshape(width, 2, width))
        bias = np.stack([np.zeros(width), of("value.posterior.weight", layer)[0]])
        of_tasks = (
            states,
            posterior,
            self._wide_norm("value", layer),
            _fill_inputs(weight.reshape(width, -1), width, 1),
            wide(bias.astype(states.dtype)).reshape(-1),
            width,
        )
        groups = sum_groups(
            states,
            posterior,
            False,
            self._wide_norm("task", layer),
            layout.candidate_group,
            len(layout.component_of_group),
            width,
            numba.get_num_threads(),
        )
        if has_few_rows(layout):
            rows = learn_few_rows(*of_tasks, even_ranges(layout), *layout.task_walk)
        else:
            rows = self.ops.candidates_to_rows(task_values(*of_tasks), layout)
        return Learned(rows=rows, groups=groups)

    def pool_states(self, layer: int, sizes: BatchSizes, rows: FloatArray) -> FloatArray:
        """See `UnrolledModel.pool_states`."""
        layout = sizes.layout
        sums: FloatArray = sum_groups(
            wide(rows),
            sizes.row_trust[:, 0],
            True,
            self._wide_norm("row", layer),
            layout.row_pooled,
            len(layout.pooled_truth),
            self.config.width,
            numba.get_num_threads(),
        )
        return sums

    def update_rows(
        self,
        layer: int,
        sizes: BatchSizes,
        rows: FloatArray,
        learned: FloatArray,
        pooled: Pooled,
    ) -> tuple[FloatArray, FloatArray]:
        """See `UnrolledModel.update_rows`."""
        ops, layout, workers = self.ops, sizes.layout, sizes.layout.graph.workers
        width, of = self.config.width, self._of_layer
        own = of("row.own.weight", layer)
        if not self.config.statistics:
            own = own.copy()
            own[3 * width + 6 :] = 0
        smoothing = ops.exp(self.tensors["smoothing.log"][layer])
        total = ops.sum_by(pooled.counts, layout.pooled_truth, layout.num_pooled_truths)
        total = ops.take(total, layout.pooled_truth) + smoothing[2] * sizes.kinds_of_pooled
        crowd = ops.take(crowd_accuracy(ops, sizes, pooled.counts), layout.component_of_worker)
        of_pooled = pooled.states[:, :width] / (pooled.states[:, width:] + 1e-3)
        message = wide(of("message.weight", layer))
        worker_start = layout.row_start[workers.pair_start]
        states, messages = update_rows(
            worker_start,
            even_chunks(worker_start),  # a shard's graph has none of its own
            layout.row_truth,
            layout.row_pooled,
            wide(rows),
            np.ascontiguousarray(learned),
            sizes.row_count[:, 0],
            sizes.row_root[:, 0],
            sizes.row_facts,
            sizes.log_others[:, 0],
            sizes.worker_count[:, 0],
            sizes.truth_count[:, 0],
            ((pooled.counts + smoothing[2]) / total)[:, 0],
            crowd[:, 0],
            smoothing,
            wide(self._times("row.pooled", layer, of_pooled)),
            self._wide_norm("row", layer),
            wide(_fill_inputs(own, width, 3)),
            wide(_fill_inputs(of("row.truth.weight", layer), width, 1)),
            wide(_fill_inputs(of("row.worker.weight", layer), width, 1)),
            wide(of("row.hidden.bias", layer)),
            wide(wide(of("row.output.weight", layer)).T).T.copy(),
            wide(of("row.output.bias", layer)),
            self._wide_norm("message", layer),
            wide(message.T).T.copy(),
        )
        return states[:, :width], messages

    def update_tasks(
        self,
        layer: int,
        sizes: BatchSizes,
        tasks: TaskStates,
        messages: FloatArray,
        groups: FloatArray,
    ) -> TaskStates:
        """See `UnrolledModel.update_tasks`; the states of `tasks` are overwritten."""
        layout, side = sizes.layout, sizes.layout.graph.tasks
        width, of = self.config.width, self._of_layer
        own, trust = of("task.own.weight", layer), np.zeros(2, messages.dtype)
        if self.config.statistics:
            trust = self.tensors["trust"][layer]
        else:
            own = own.copy()
            own[3 * width + 3 :] = 0
        option, states = groups[:, :width] / sizes.option_tasks, wide(tasks.states)
        logits, log_posterior, posterior = update_tasks(
            layout.candidate_start,
            layout.candidate_option,
            layout.candidate_group,
            layout.task_is_tied,
            side.pair_start,
            side.pair_option,
            side.entry_start,
            side.neighbour_pair,
            layout.row_start,
            side.chunk_start,
            messages,
            sizes.vote_share[:, 0],
            sizes.root_answers[:, 0],
            sizes.log_answers[:, 0],
            sizes.log_task_options[:, 0],
            np.log((groups[:, width] + 1) / sizes.prior_total[:, 0]),
            wide(self._times("task.option", layer, option)),
            tasks.posterior[:, 0],
            states,
            self._wide_norm("task", layer),
            wide(_fill_inputs(own, width, 3)),
            wide(_fill_inputs(of("task.mean.weight", layer), width, 1)),
            wide(of("task.hidden.bias", layer)),
            wide(wide(of("task.output.weight", layer)).T).T.copy(),
            wide(of("task.output.bias", layer)),
            trust,
            wide_norm(self.tensors["output.norm.scale"], self.tensors["output.norm.shift"]),
            wide(self.tensors["output.weight"][:, 0]),
        )
        return TaskStates(
            states[:, :width], logits[:, None], log_posterior[:, None], posterior[:, None]
        )

    def _wide_norm(self, name: str, layer: int) -> FloatArray:
        shift = self._of_layer(f"{name}.norm.shift", layer)
        return wide_norm(self._of_layer(f"{name}.norm.scale", layer), shift)


def _fill_inputs(weight: FloatArray, width: int, blocks: int) -> FloatArray:
    """Fill up the first blocks of inputs of a weight [F, H], D each, with zeros as `wide` does."""
    of_states = wide(weight[: blocks * width].reshape(blocks, width, -1).swapaxes(1, 2))
    filled = of_states.swapaxes(1, 2).reshape(-1, weight.shape[1])
    return np.concatenate([filled, weight[blocks * width :]])
