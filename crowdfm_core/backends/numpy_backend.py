"""Operations on NumPy arrays with Numba loops: CPU inference without torch."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from crowdfm_core.backends import candidate_kernels, form_kernels, kernels, network_kernels
from crowdfm_core.backends.layouts import wide, wide_norm
from crowdfm_core.backends.products import ROWS
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.graph import IntArray, Side

__all__ = ["NumpyOps", "even_ranges", "has_few_rows"]

FloatArray = npt.NDArray[np.floating[Any]]

_CHUNK = 4096  # rows


class NumpyOps:
    """The operations of `crowdfm_core.models.operations.Operations` on NumPy arrays."""

    def __init__(self, dtype: npt.DTypeLike = np.float32) -> None:
        self.dtype = np.dtype(dtype)

    def array(self, values: npt.ArrayLike) -> FloatArray:
        """Return `values` as a contiguous array of this backend's floating type."""
        return np.ascontiguousarray(values, dtype=self.dtype)

    def rows_times(self, x: FloatArray, weight: FloatArray) -> FloatArray:
        """See `Operations.rows_times`."""
        out: FloatArray = network_kernels.rows_times(
            np.ascontiguousarray(x), wide(weight), weight.shape[1]
        )
        return out

    def two_layers(
        self,
        columns: list[FloatArray],
        gathered: list[tuple[FloatArray, IntArray]],
        hidden_weight: FloatArray,
        hidden_bias: FloatArray,
        output_weight: FloatArray,
        output_bias: FloatArray,
    ) -> FloatArray:
        """See `Operations.two_layers`; in chunks of rows that stay in the processor's cache."""
        num_rows = len(columns[0])
        out = np.empty((num_rows, output_weight.shape[1]), self.dtype)
        shared = wide(np.concatenate([hidden_weight[:0], *(values for values, _ in gathered)]))
        first = np.cumsum([0, *(len(values) for values, _ in gathered)])[:-1]
        weights = (
            wide(hidden_weight),
            wide(hidden_bias),
            wide(wide(output_weight).T).T.copy(),
            wide(output_bias),
        )
        x = np.zeros((min(num_rows, _CHUNK) + ROWS, len(hidden_weight)), self.dtype)
        index = np.empty((len(gathered), _CHUNK), np.int32)
        for start in range(0, num_rows, _CHUNK):
            part = slice(start, min(start + _CHUNK, num_rows))
            size = part.stop - start
            np.concatenate([column[part] for column in columns], axis=1, out=x[:size])
            for source, (_, group) in enumerate(gathered):
                np.add(group[part], first[source], out=index[source, :size], casting="same_kind")
            network_kernels.two_layers(x, shared, index, *weights, out[part])
        return out

    def quadratic_forms(self, x: FloatArray, square: FloatArray, linear: FloatArray) -> FloatArray:
        """See `Operations.quadratic_forms`."""
        forms: FloatArray = form_kernels.quadratic_forms(x, square, linear)
        return forms

    def pair_scores(self, z: FloatArray, tables: FloatArray, side: Side) -> FloatArray:
        """See `Operations.pair_scores`."""
        scores: FloatArray = kernels.pair_scores_forward(
            z, tables, side.pair_centre, side.pair_option
        )
        return scores

    def attention(
        self,
        queries: FloatArray,
        z: FloatArray,
        options: FloatArray,
        centre_bias: FloatArray,
        neighbour_bias: FloatArray,
        centres: Side,
        neighbours: Side,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See `Operations.attention`."""
        log_sum, z_sum, option_sum = kernels.attention_forward(
            queries,
            z,
            options,
            centre_bias,
            neighbour_bias,
            centres.pair_start,
            centres.pair_option,
            centres.entry_start,
            centres.neighbour,
            centres.neighbour_pair,
            centres.chunk_start,
        )
        return log_sum, z_sum, option_sum

    def layer_norm(self, x: FloatArray, scale: FloatArray, shift: FloatArray) -> FloatArray:
        """Normalise the rows of x [N, D] to mean 0 and variance 1, then scale and shift."""
        out: FloatArray = network_kernels.layer_norm(wide(x), wide_norm(scale, shift), x.shape[1])
        return out

    def log1p(self, x: FloatArray) -> FloatArray:
        """Return log(1 + x) elementwise."""
        out: FloatArray = np.log1p(x)
        return out

    def log(self, x: FloatArray) -> FloatArray:
        """Return the natural logarithm elementwise."""
        out: FloatArray = np.log(x)
        return out

    def exp(self, x: FloatArray) -> FloatArray:
        """Return the exponential elementwise."""
        out: FloatArray = np.exp(x)
        return out

    def relu(self, x: FloatArray) -> FloatArray:
        """Return max(x, 0) elementwise."""
        return self.at_least(x, 0.0)

    def at_least(self, x: FloatArray, bound: float) -> FloatArray:
        """Return max(x, bound) elementwise."""
        out: FloatArray = np.maximum(x, x.dtype.type(bound))
        return out

    def concat(self, columns: list[FloatArray]) -> FloatArray:
        """See `Operations.concat`; in chunks of rows that stay in the processor's cache."""
        width = sum(column.shape[1] for column in columns)
        out = np.empty((len(columns[0]), width), self.dtype)
        for start in range(0, len(out), _CHUNK):
            part = slice(start, start + _CHUNK)
            np.concatenate([column[part] for column in columns], axis=1, out=out[part])
        return out

    def take(self, x: FloatArray, index: IntArray) -> FloatArray:
        """See `Operations.take`."""
        return np.take(x, index, axis=0)

    def sum_by(self, x: FloatArray, group: IntArray, num_groups: int) -> FloatArray:
        """See `Operations.sum_by`."""
        out: FloatArray = candidate_kernels.sum_by_group(x, group, num_groups)
        return out

    def sum_runs(self, x: FloatArray, weight: FloatArray, start: IntArray) -> FloatArray:
        """See `Operations.sum_runs`."""
        out: FloatArray = candidate_kernels.sum_runs(
            np.ascontiguousarray(x), np.ascontiguousarray(weight[:, 0]), start
        )
        return out

    def group_max(self, x: FloatArray, start: IntArray) -> FloatArray:
        """See `Operations.group_max`."""
        out: FloatArray = candidate_kernels.group_max(x, start)
        return out

    def rows_to_candidates(self, rows: FloatArray, layout: CandidateGraph) -> FloatArray:
        """See `Operations.rows_to_candidates`."""
        out: FloatArray = candidate_kernels.rows_to_candidates(rows, *layout.task_walk)
        return out

    def candidates_to_rows(self, candidates: FloatArray, layout: CandidateGraph) -> FloatArray:
        """See `Operations.candidates_to_rows`."""
        candidates = np.ascontiguousarray(candidates)
        out: FloatArray
        if has_few_rows(layout):
            out = candidate_kernels.candidates_to_few_rows(
                candidates, even_ranges(layout), *layout.task_walk
            )
        else:
            out = candidate_kernels.candidates_to_rows(candidates, *layout.worker_walk)
        return out


def has_few_rows(layout: CandidateGraph) -> bool:
    """Whether rows are summed as in `candidates_to_few_rows`."""
    return layout.num_rows < layout.num_candidates


def even_ranges(layout: CandidateGraph) -> npt.NDArray[np.int64]:
    """Ranges of the workers' pairs with about equal numbers of entries, one per thread: [threads +
    1]."""
    side = layout.graph.workers
    marks = np.linspace(0, len(side.neighbour), numba.get_num_threads() + 1)
    return np.searchsorted(side.entry_start, marks).astype(np.int64)
