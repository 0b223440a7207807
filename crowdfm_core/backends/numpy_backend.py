"""Operations on NumPy arrays with Numba loops: CPU inference without torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends import kernels
from crowdfm_core.graph import Side

__all__ = ["NumpyOps"]

FloatArray = npt.NDArray[np.floating[Any]]


class NumpyOps:
    """The operations of `crowdfm_core.models.operations.Operations` on NumPy arrays."""

    def __init__(self, dtype: npt.DTypeLike = np.float32) -> None:
        self.dtype = np.dtype(dtype)

    def array(self, values: npt.ArrayLike) -> FloatArray:
        """Return `values` as a contiguous array of this backend's floating type."""
        return np.ascontiguousarray(values, dtype=self.dtype)

    def rows_times(self, x: FloatArray, weight: FloatArray) -> FloatArray:
        """See `Operations.rows_times`.

        BLAS adds up in another order for a single row, and for few rows and a transposed weight.
        """
        weight = np.ascontiguousarray(weight)
        if len(x) == 1:
            return (np.repeat(x, 2, axis=0) @ weight)[:1]
        out: FloatArray = np.ascontiguousarray(x) @ weight
        return out

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
        centred = x - x.mean(-1, keepdims=True)
        variance = np.square(centred).mean(-1, keepdims=True)
        out: FloatArray = centred / np.sqrt(variance + 1e-5) * scale + shift
        return out

    def log1p(self, x: FloatArray) -> FloatArray:
        """Return log(1 + x) elementwise."""
        out: FloatArray = np.log1p(x)
        return out
