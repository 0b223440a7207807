"""The architecture of CrowdFM (ICLR 2026), equations 4 to 10, without per-annotation matrices.

Per layer and side, with h = [z_w ; z_t ; z_o] of an annotation: q, k, v = linear(h) per head,
score = <q, k> / sqrt(D), softmax over the annotations of the centre, weighted sum of v, output
projection, residual, one LayerNorm. Both sides read the previous layer's states.

Every projection is split here into its centre, neighbour and option parts. What depends on the
centre alone cancels in the softmax, and what is linear moves behind the sum, so that an
annotation costs one dot product and one scaled addition of length D per head (design: "The model,
and why it can be fast"):

    score  = z_c' M z_n + z_c' M_o z_o + z_n' N_o z_o + z_n' A z_n + a' z_n + z_o' B z_o + b' z_o
    update = V_c z_c + V_n (sum of p z_n) + V_o (sum of p z_o) + bias

Letters: D width, H heads, L layers, W workers, T tasks, K option rows, P (node, option) pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crowdfm_core.graph import AnnotationGraph, Side
from crowdfm_core.models.operations import Array, Operations

__all__ = ["Aggregation", "AttentionConfig", "AttentionModel", "Partials", "merge_partials"]

OutputBias = Literal["per_annotation", "log_annotations", "once"]
Aggregation = Literal["attention", "mean"]
Tensors = dict[str, Array]
_SIDES = ("worker", "task")


@dataclass(frozen=True)
class AttentionConfig:
    """Sizes of the architecture.

    output_bias: how often the output projection's bias enters a node's update. The published
    code projects every annotation before summing, so that it enters once per annotation;
    `log_annotations` multiplies it by log(1 + annotations), which stays in the trained range on
    graphs much larger than the simulated ones; `once` is the usual form of the paper's equations.
    aggregation: `mean` gives all annotations of a centre the same weight, as in the paper's
    ablation; queries and keys keep their tensors, unused, so that all else starts the same.
    """

    width: int = 32
    layers: int = 10
    heads: int = 4
    output_bias: OutputBias = "per_annotation"
    aggregation: Aggregation = "attention"

    def embedding_widths(self) -> dict[str, int]:
        """Width of what the read-outs see: ability from workers, difficulty from tasks."""
        return {"ability": self.width, "difficulty": self.width}

    def fan_in(self, name: str) -> int:
        """Inputs of a weight: its last axis is the one that is summed over."""
        return self.tensor_shapes()[name][-1]

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor of the model; weight columns are worker, task, option."""
        width, inner = self.width, self.heads * self.width
        shapes: dict[str, tuple[int, ...]] = {
            "initial.worker": (width,),
            "initial.task": (width,),
            "norm.scale": (width,),
            "norm.shift": (width,),
            "classifier.hidden.weight": (2 * width, 2 * width),
            "classifier.hidden.bias": (2 * width,),
            "classifier.output.weight": (2 * width,),
            "classifier.output.bias": (1,),
        }
        for side in _SIDES:
            for name in ("query", "key", "value"):
                shapes[f"{side}.{name}.weight"] = (self.layers, inner, 3 * width)
                shapes[f"{side}.{name}.bias"] = (self.layers, inner)
            shapes[f"{side}.output.weight"] = (self.layers, width, inner)
            shapes[f"{side}.output.bias"] = (self.layers, width)
        return shapes


@dataclass(frozen=True)
class Partials:
    """What the annotations of one block say about each centre; merging blocks gives the whole.

    log_sum [C, H] is -inf where a block has no annotation of the centre; the sums are averages
    under the block's own softmax, [C, H, D]; degree counts annotations, [C].
    """

    log_sum: Array
    neighbour_sum: Array
    option_sum: Array
    degree: Array


def merge_partials(left: Partials, right: Partials) -> Partials:
    """Merge the partial sums of two blocks (NumPy); associative and commutative up to rounding."""
    top = np.maximum(left.log_sum, right.log_sum)
    reached = np.where(np.isneginf(top), 0, top)
    left_weight = np.exp(left.log_sum - reached)
    right_weight = np.exp(right.log_sum - reached)
    total = left_weight + right_weight
    with np.errstate(divide="ignore"):
        log_sum = np.log(total) + reached
    share = (left_weight / np.where(total > 0, total, 1))[..., None]
    return Partials(
        log_sum=log_sum,
        neighbour_sum=share * left.neighbour_sum + (1 - share) * right.neighbour_sum,
        option_sum=share * left.option_sum + (1 - share) * right.option_sum,
        degree=left.degree + right.degree,
    )


@dataclass(frozen=True)
class _OptionParts:
    """The options' parts of a score: centre_table and neighbour_table [K, H, D], with the centre's
    and the neighbour's state, and bias [K, H], alone."""

    centre_table: Array
    neighbour_table: Array
    bias: Array


@dataclass(frozen=True)
class _FoldedSide:
    """Weights of one side, all layers, in the form of the module's docstring."""

    centre_neighbour: Array  # M     [L, D, H*D]: z_c @ M = the query against z_n
    centre_option: Array  # M_o      [L, D, H*D]: z_o @ M_o' = the table against z_c
    neighbour_option: Array  # N_o   [L, D, H*D]
    neighbour_square: Array  # A     [L, D, H*D]
    neighbour_linear: Array  # a     [L, D, H]
    option_square: Array  # B        [L, D, H*D]
    option_linear: Array  # b        [L, D, H]
    update_centre: Array  # V_c      [L, D, D]
    update_neighbour: Array  # V_n   [L, H*D, D]
    update_option: Array  # V_o      [L, H*D, D]
    value_bias: Array  # [L, D]
    output_bias: Array  # [L, D]


class AttentionModel:
    """The frozen encoder and classifier as steps per layer over a backend's arrays."""

    def __init__(self, config: AttentionConfig, tensors: Tensors, ops: Operations) -> None:
        """Fold `tensors` (named and shaped as in `AttentionConfig.tensor_shapes`)."""
        self.config = config
        self.ops = ops
        self.tensors = tensors
        self._sides = {side: _fold(config, tensors, side) for side in _SIDES}

    def initial_states(self, num_workers: int, num_tasks: int) -> tuple[Array, Array]:
        """Equation 4: every node starts from its side's shared vector; ([W, D], [T, D])."""
        ones = self.ops.array(np.ones((max(num_workers, num_tasks), 1)))
        return (
            ones[:num_workers] * self.tensors["initial.worker"],
            ones[:num_tasks] * self.tensors["initial.task"],
        )

    def encode(self, graph: AnnotationGraph, options: Array) -> tuple[Array, Array]:
        """Equations 4 to 9 over a whole batch: worker [W, D] and task [T, D] embeddings.

        options [K, D]: the vectors of all option rows of the batch.
        """
        workers, tasks = self.initial_states(graph.num_workers, graph.num_tasks)
        for layer in range(self.config.layers):
            partials = self.worker_partials(layer, graph, workers, tasks, options)
            tasks = self.update_tasks(layer, graph, workers, tasks, options)
            workers = self.update_workers(layer, workers, partials)
        return workers, tasks

    def worker_partials(
        self, layer: int, block: AnnotationGraph, workers: Array, tasks: Array, options: Array
    ) -> Partials:
        """Sums over one block's annotations for every worker, from the previous layer's states."""
        return self._attend("worker", layer, workers, tasks, options, block.workers, block.tasks)

    def update_workers(self, layer: int, workers: Array, partials: Partials) -> Array:
        """Next worker states [W, D] from the merged partial sums of all blocks."""
        return self._update("worker", layer, workers, partials)

    def update_tasks(
        self, layer: int, block: AnnotationGraph, workers: Array, tasks: Array, options: Array
    ) -> Array:
        """Next states [T, D] of a block's tasks; the block holds all of their annotations."""
        partials = self._attend("task", layer, tasks, workers, options, block.tasks, block.workers)
        return self._update("task", layer, tasks, partials)

    def classifier_parts(self, tasks: Array, options: Array) -> tuple[Array, Array]:
        """Task part [T, 2D] (with the bias) and option part [K, 2D] of the hidden layer.

        Equation 10's first layer is linear on [z_t ; z_o], so pairs only add the two parts.
        """
        width = self.config.width
        weight = self.tensors["classifier.hidden.weight"]
        task_part = self.ops.rows_times(tasks, weight[:, :width].T)
        option_part = self.ops.rows_times(options, weight[:, width:].T)
        return task_part + self.tensors["classifier.hidden.bias"], option_part

    def _attend(
        self,
        side: str,
        layer: int,
        centre: Array,
        neighbour: Array,
        options: Array,
        centres: Side,
        neighbours: Side,
    ) -> Partials:
        width = self.config.width
        queries = self.ops.rows_times(centre, self._sides[side].centre_neighbour[layer])
        parts = self._option_parts(side, layer, options)
        log_sum, neighbour_sum, option_sum = self.ops.attention(
            queries.reshape(-1, self.config.heads, width),
            neighbour,
            options,
            self.ops.pair_scores(centre, parts.centre_table, centres)
            + parts.bias[centres.pair_option],
            self._neighbour_bias(side, layer, parts, neighbour, neighbours),
            centres,
            neighbours,
        )
        return Partials(log_sum, neighbour_sum, option_sum, self.ops.array(centres.degree))

    def _option_parts(self, side: str, layer: int, options: Array) -> _OptionParts:
        folded = self._sides[side]
        shape = (-1, self.config.heads, self.config.width)
        square, linear = folded.option_square[layer], folded.option_linear[layer]
        return _OptionParts(
            self.ops.rows_times(options, folded.centre_option[layer]).reshape(shape),
            self.ops.rows_times(options, folded.neighbour_option[layer]).reshape(shape),
            self.ops.quadratic_forms(options, square, linear),
        )

    def _own_bias(self, side: str, layer: int, neighbour: Array) -> Array:
        """What the neighbours' states alone add to a score, [N, H]."""
        folded = self._sides[side]
        square, linear = folded.neighbour_square[layer], folded.neighbour_linear[layer]
        return self.ops.quadratic_forms(neighbour, square, linear)

    def _neighbour_bias(
        self, side: str, layer: int, parts: _OptionParts, neighbour: Array, neighbours: Side
    ) -> Array:
        """What the neighbours' states add to a score, alone and with the option, [P, H]."""
        own = self._own_bias(side, layer, neighbour)
        with_option = self.ops.pair_scores(neighbour, parts.neighbour_table, neighbours)
        return with_option + own[neighbours.pair_centre]

    def _update(self, side: str, layer: int, centre: Array, partials: Partials) -> Array:
        folded, times = self._sides[side], self.ops.rows_times
        inner = self.config.heads * self.config.width
        degree = partials.degree[:, None]
        own = times(centre, folded.update_centre[layer]) + folded.value_bias[layer]
        message = (
            times(partials.neighbour_sum.reshape(-1, inner), folded.update_neighbour[layer])
            + times(partials.option_sum.reshape(-1, inner), folded.update_option[layer])
            + (degree > 0) * own
            + self._bias_scale(degree) * folded.output_bias[layer]
        )
        return self.ops.layer_norm(
            centre + message, self.tensors["norm.scale"], self.tensors["norm.shift"]
        )

    def _bias_scale(self, degree: Array) -> Array:
        if self.config.output_bias == "per_annotation":
            return degree
        if self.config.output_bias == "log_annotations":
            return self.ops.log1p(degree)
        return degree > 0


def _fold(config: AttentionConfig, tensors: Tensors, side: str) -> _FoldedSide:
    """Split and multiply out one side's projections; all layers at once."""
    layers, heads, width = config.layers, config.heads, config.width
    # Every term of the score has this factor; the softmax of zeros is the mean.
    scale = 1 / math.sqrt(width) if config.aggregation == "attention" else 0.0
    order = {"worker": (0, 1), "task": (1, 0)}[side]  # column blocks of centre and neighbour

    def parts(name: str) -> tuple[Array, Array, Array]:
        weight = tensors[f"{side}.{name}.weight"].reshape(layers, heads, width, 3, width)
        return weight[..., order[0], :], weight[..., order[1], :], weight[..., 2, :]

    def bias(name: str) -> Array:
        return tensors[f"{side}.{name}.bias"].reshape(layers, heads, width, 1)

    def flat(x: Array) -> Array:  # [L, H, D, D] -> [L, D, H*D], so that z @ x is one product
        return x.swapaxes(1, 2).reshape(layers, width, heads * width)

    def transposed(x: Array) -> Array:
        return x.swapaxes(-1, -2)

    (q_c, q_n, q_o), (k_c, k_n, k_o), (v_c, v_n, v_o) = map(parts, ("query", "key", "value"))
    q_bias, k_bias = bias("query"), bias("key")
    # [L, H, D_out, D] of the output projection: its columns belong to the heads in turn.
    out = tensors[f"{side}.output.weight"].reshape(layers, width, heads, width).swapaxes(1, 2)

    def linear(q: Array, k: Array) -> Array:  # [L, D, H]
        value = transposed(k) @ q_bias + transposed(q) @ k_bias
        return (scale * value[..., 0]).swapaxes(1, 2)

    def update(v: Array) -> Array:  # [L, H*D, D]
        return transposed(out @ v).reshape(layers, heads * width, width)

    return _FoldedSide(
        centre_neighbour=flat(scale * (transposed(q_c) @ k_n + transposed(k_c) @ q_n)),
        centre_option=flat(scale * (transposed(q_o) @ k_c + transposed(k_o) @ q_c)),
        neighbour_option=flat(scale * (transposed(q_o) @ k_n + transposed(k_o) @ q_n)),
        neighbour_square=flat(scale * (transposed(q_n) @ k_n)),
        neighbour_linear=linear(q_n, k_n),
        option_square=flat(scale * (transposed(q_o) @ k_o)),
        option_linear=linear(q_o, k_o),
        update_centre=transposed((out @ v_c).sum(1)),
        update_neighbour=update(v_n),
        update_option=update(v_o),
        value_bias=(out @ bias("value")).sum(1)[..., 0],
        output_bias=tensors[f"{side}.output.bias"],
    )
