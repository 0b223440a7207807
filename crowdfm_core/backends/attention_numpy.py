"""The attention model for inference on the CPU: the tasks' side of a layer as one compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.attention_kernels import update_centres
from crowdfm_core.backends.blas_threads import one_blas_thread
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.attention import AttentionModel

__all__ = ["CompiledAttentionModel"]

FloatArray = npt.NDArray[np.floating[Any]]


class CompiledAttentionModel(AttentionModel):
    """`AttentionModel` over `NumpyOps`, without arrays of tasks x heads x width."""

    @one_blas_thread()
    def encode(self, graph: AnnotationGraph, options: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `AttentionModel.encode`."""
        return super().encode(graph, options)

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
        parts = self._score_parts("task", layer, workers, options, block.workers)
        # M[i, (h, j)] takes z_t to the query; transposed it takes z_w to what z_t is compared with.
        query = folded.centre_neighbour[layer].reshape(width, heads, width).transpose(2, 1, 0)

        def table(x: FloatArray, weight: FloatArray) -> FloatArray:
            product = self.ops.rows_times(x, weight.reshape(width, heads * width))
            return _in_fours(product.reshape(len(x), heads, width))

        def by_input(weight: FloatArray) -> FloatArray:
            by_head: FloatArray = weight[layer].reshape(heads, width, width)
            return by_head.transpose(1, 0, 2)

        updated: FloatArray = update_centres(
            tasks,
            table(workers, query),
            _in_fours(parts.centre_table),
            _in_fours(parts.option_bias),
            _in_fours(parts.neighbour_bias),
            table(workers, by_input(folded.update_neighbour)),
            table(options, by_input(folded.update_option)),
            folded.update_centre[layer],
            folded.value_bias[layer],
            folded.output_bias[layer],
            self._bias_scale(self.ops.array(side.degree)),
            self.tensors["norm.scale"],
            self.tensors["norm.shift"],
            side.pair_start,
            side.pair_option,
            side.entry_start,
            side.neighbour,
            side.neighbour_pair,
            side.chunk_start,
        )
        return updated


def _in_fours(x: FloatArray) -> FloatArray:
    """Group the heads of x [N, H, ...] by four, [N, G, 4, ...]; zeros fill up the last group, whose
    messages are then zero as well."""
    missing = -x.shape[1] % 4
    padded = np.pad(x, [(0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)]) if missing else x
    return np.ascontiguousarray(padded).reshape(len(x), -1, 4, *x.shape[2:])
