"""The attention model for inference on the CPU: each side of a layer as one compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.attention_kernels import sum_annotations, update_centres
from crowdfm_core.backends.layouts import wide, wide_norm
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.attention import AttentionModel, Partials

__all__ = ["CompiledAttentionModel"]

FloatArray = npt.NDArray[np.floating[Any]]


class CompiledAttentionModel(AttentionModel):
    """`AttentionModel` over `NumpyOps`, without arrays of tasks x heads x width."""

    def worker_partials(
        self,
        layer: int,
        block: AnnotationGraph,
        workers: FloatArray,
        tasks: FloatArray,
        options: FloatArray,
    ) -> Partials:
        """See `AttentionModel.worker_partials`."""
        folded, side = self._sides["worker"], block.workers
        heads, width = self.config.heads, self.config.width
        parts = self._option_parts("worker", layer, options)
        query = folded.centre_neighbour[layer].reshape(width, heads, width)
        log_sum, *sums = sum_annotations(
            wide(workers),
            self._table(workers, _columns(query)),
            _columns(parts.centre_table),
            _in_fours(parts.bias),
            wide(tasks),
            _columns(parts.neighbour_table),
            _in_fours(self._own_bias("worker", layer, tasks)),
            wide(options),
            side.pair_start,
            side.pair_option,
            side.entry_start,
            side.neighbour,
            side.chunk_start,
        )
        neighbour_sum, option_sum = (
            of.reshape(len(workers), -1, of.shape[-1])[:, :heads, :width] for of in sums
        )
        log_sum = log_sum.reshape(len(workers), -1)[:, :heads]
        return Partials(log_sum, neighbour_sum, option_sum, self.ops.array(side.degree))

    def update_tasks(
        self,
        layer: int,
        block: AnnotationGraph,
        workers: FloatArray,
        tasks: FloatArray,
        options: FloatArray,
    ) -> FloatArray:
        """See `AttentionModel.update_tasks`."""
        folded, side = self._sides["task"], block.tasks
        heads, width = self.config.heads, self.config.width
        parts = self._option_parts("task", layer, options)
        # M[i, (h, j)] takes z_t to the query; transposed it takes z_w to what z_t is compared with.
        query = folded.centre_neighbour[layer].reshape(width, heads, width).transpose(2, 1, 0)

        def by_input(weight: FloatArray) -> FloatArray:
            by_head: FloatArray = weight[layer].reshape(heads, width, width)
            return _rows(by_head.transpose(1, 0, 2))

        scale = self.tensors["norm.scale"]
        own_weight = wide(folded.update_centre[layer])
        updated: FloatArray = update_centres(
            wide(tasks),
            self._table(workers, _columns(query)),
            _columns(parts.centre_table),
            _in_fours(parts.bias),
            _in_fours(self._neighbour_bias("task", layer, parts, workers, block.workers)),
            self._table(workers, by_input(folded.update_neighbour)),
            self._table(options, by_input(folded.update_option)),
            wide(own_weight.T).T.copy(),
            wide(folded.value_bias[layer]),
            wide(folded.output_bias[layer]),
            self.ops.array(self._bias_scale(self.ops.array(side.degree))),
            wide_norm(scale, self.tensors["norm.shift"]),
            side.pair_start,
            side.pair_option,
            side.entry_start,
            side.neighbour,
            side.neighbour_pair,
            side.chunk_start,
        )
        return np.ascontiguousarray(updated[:, :width])

    def _table(self, x: FloatArray, weight: FloatArray) -> FloatArray:
        """Multiply x [N, D] by weight [D, ...]: [N, ...]."""
        product: FloatArray = self.ops.rows_times(x, weight.reshape(len(weight), -1))
        return product.reshape(len(x), *weight.shape[1:])


def _in_fours(x: FloatArray) -> FloatArray:
    """Group the heads of x [N, H, ...] by four, [N, G, 4, ...]; zeros fill up the last group, whose
    messages are then zero as well."""
    missing = -x.shape[1] % 4
    padded = np.pad(x, [(0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)]) if missing else x
    return np.ascontiguousarray(padded).reshape(len(x), -1, 4, *x.shape[2:])


def _rows(x: FloatArray) -> FloatArray:
    """Lay out tables x [N, H, D] as rows per head, [N, G, 4, D]."""
    return wide(_in_fours(x))


def _columns(x: FloatArray) -> FloatArray:
    """Lay out tables x [N, H, D] as columns per head, [N, G, D, 4]."""
    return np.ascontiguousarray(_rows(x).swapaxes(2, 3))
