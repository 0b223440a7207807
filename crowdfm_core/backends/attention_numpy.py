"""The attention model for inference on the CPU: the tasks' side of a layer as one compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.attention_kernels import update_centres
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.attention import AttentionModel

__all__ = ["CompiledAttentionModel"]

FloatArray = npt.NDArray[np.floating[Any]]


class CompiledAttentionModel(AttentionModel):
    """`AttentionModel` over `NumpyOps`, without arrays of tasks x heads x width."""

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
        parts = self._score_parts("task", layer, workers, options, block.workers)
        heads, width = self.config.heads, self.config.width
        messages = options @ folded.update_option[layer].reshape(heads, width, width)
        updated: FloatArray = update_centres(
            tasks,
            workers,
            folded.centre_neighbour[layer],
            parts.centre_table,
            parts.option_bias,
            parts.neighbour_bias,
            folded.update_centre[layer],
            folded.update_neighbour[layer],
            np.ascontiguousarray(messages.swapaxes(0, 1)),
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
