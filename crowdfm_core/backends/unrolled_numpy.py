"""The unrolled model for inference on the CPU: the tasks' side as compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.blas_threads import one_blas_thread
from crowdfm_core.backends.layouts import wide
from crowdfm_core.backends.unrolled_kernels import sum_groups, task_values, update_tasks
from crowdfm_core.backends.vectors import LANES
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.models.unrolled import UnrolledModel, UnrolledOutputs
from crowdfm_core.models.unrolled_sizes import BatchSizes
from crowdfm_core.models.unrolled_states import Learned, TaskStates

__all__ = ["CompiledUnrolledModel"]

FloatArray = npt.NDArray[np.floating[Any]]


class CompiledUnrolledModel(UnrolledModel):
    """`UnrolledModel` over `NumpyOps`, the steps that grow with the tasks written as loops."""

    @one_blas_thread()
    def run(self, layout: CandidateGraph) -> UnrolledOutputs:
        """See `UnrolledModel.run`."""
        return super().run(layout)

    def learn(self, layer: int, sizes: BatchSizes, tasks: TaskStates) -> Learned:
        """See `UnrolledModel.learn`."""
        layout, of = sizes.layout, self._of_layer
        values, normed = task_values(
            tasks.states,
            tasks.posterior[:, 0],
            of("value.norm.scale", layer),
            of("value.norm.shift", layer),
            wide(of("value.weight", layer)),
            of("value.posterior.weight", layer)[0],
            of("task.norm.scale", layer),
            of("task.norm.shift", layer),
        )
        return Learned(
            rows=self.ops.candidates_to_rows(values, layout),
            groups=sum_groups(normed, layout.candidate_group, len(layout.component_of_group)),
        )

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
            layout.component_of_task,
            layout.task_is_tied,
            side.pair_start,
            side.pair_option,
            side.entry_start,
            side.neighbour_pair,
            layout.row_start,
            side.chunk_start,
            np.pad(messages, ((0, 1 + LANES // messages.shape[1]), (0, 0))),
            np.log((groups[:, width] + 1) / sizes.prior_total[:, 0]),
            wide(self._times("task.option", layer, option)),
            sizes.log_options[:, 0],
            tasks.posterior[:, 0],
            states,
            _norm(of("task.norm.scale", layer), of("task.norm.shift", layer)),
            wide(_fill_inputs(own, width, 3)),
            wide(_fill_inputs(of("task.mean.weight", layer), width, 1)),
            wide(of("task.hidden.bias", layer)),
            wide(wide(of("task.output.weight", layer)).T).T.copy(),
            wide(of("task.output.bias", layer)),
            trust,
            _norm(self.tensors["output.norm.scale"], self.tensors["output.norm.shift"]),
            wide(self.tensors["output.weight"][:, 0]),
        )
        return TaskStates(
            states[:, :width], logits[:, None], log_posterior[:, None], posterior[:, None]
        )


def _norm(scale: FloatArray, shift: FloatArray) -> FloatArray:
    """Lay out a norm as `normalise` takes it."""
    return wide(np.stack([scale, shift, np.ones_like(scale)]))


def _fill_inputs(weight: FloatArray, width: int, blocks: int) -> FloatArray:
    """Fill up the first blocks of inputs of a weight [F, H], D each, with zeros as `wide` does."""
    of_states = wide(weight[: blocks * width].reshape(blocks, width, -1).swapaxes(1, 2))
    filled = of_states.swapaxes(1, 2).reshape(-1, weight.shape[1])
    return np.concatenate([filled, weight[blocks * width :]])
