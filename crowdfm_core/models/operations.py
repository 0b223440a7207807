"""The operations an architecture needs beyond what NumPy arrays and torch tensors share.

Both support `@`, reshape, swapaxes, arithmetic and indexing with the same meaning; the rest is
this protocol. Letters: C centres, N neighbours, K option rows, P (node, option) pairs, H heads,
D width.
"""

from __future__ import annotations

from typing import Any, Protocol

from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.graph import IntArray, Side

__all__ = ["Array", "Operations"]

# A NumPy array or a torch tensor; which one is the backend's affair.
Array = Any


class Operations(Protocol):
    """A backend: `NumpyOps` on the CPU, `TorchOps` for training and CUDA."""

    def array(self, values: Any) -> Array:
        """Return `values` as the backend's array, in its floating type and on its device."""

    def rows_times(self, x: Array, weight: Array) -> Array:
        """Return x @ weight, x [N, A], weight [A, B]; in NumPy a row of the result is the same
        to the last bit whatever other rows are in x."""

    def two_layers(
        self,
        columns: list[Array],
        gathered: list[tuple[Array, IntArray]],
        hidden_weight: Array,
        hidden_bias: Array,
        output_weight: Array,
        output_bias: Array,
    ) -> Array:
        """Return relu(x @ hidden_weight + sum of g[index] + hidden_bias) @ output_weight +
        output_bias, [N, D], with x the columns [N, .] side by side and gathered: (g [G, F],
        index [N]). In NumPy rows are independent as in `rows_times`."""

    def quadratic_forms(self, x: Array, square: Array, linear: Array) -> Array:
        """Return x[n] A_h x[n] + x[n] b_h, [N, H]: x [N, D], square [D, H*D] holds the matrices
        A_h side by side, linear [D, H] the vectors b_h."""

    def pair_scores(self, z: Array, tables: Array, side: Side) -> Array:
        """Return <z[n], tables[o, h]> for each pair (n, o) of the side: z [N, D], tables [K, H, D]
        -> [P, H]."""

    def attention(
        self,
        queries: Array,
        z: Array,
        options: Array,
        centre_bias: Array,
        neighbour_bias: Array,
        centres: Side,
        neighbours: Side,
    ) -> tuple[Array, Array, Array]:
        """Softmax over each centre's annotations of
        <queries[c, h], z[n]> + centre_bias[(c, o), h] + neighbour_bias[(n, o), h].

        queries [C, H, D], z [N, D], options [K, D], biases [P, H] -> log of the sum of exponentials
        [C, H], weighted sums of z and of options [C, H, D]; zeros and -inf without annotations.
        """

    def layer_norm(self, x: Array, scale: Array, shift: Array) -> Array:
        """Normalise rows (epsilon 1e-5), then scale and shift."""

    def log1p(self, x: Array) -> Array:
        """Return log(1 + x) elementwise."""

    def log(self, x: Array) -> Array:
        """Return the natural logarithm elementwise."""

    def exp(self, x: Array) -> Array:
        """Return the exponential elementwise."""

    def relu(self, x: Array) -> Array:
        """Return max(x, 0) elementwise."""

    def at_least(self, x: Array, bound: float) -> Array:
        """Return max(x, bound) elementwise."""

    def concat(self, columns: list[Array]) -> Array:
        """Join arrays [N, A], [N, B], ... side by side."""

    def take(self, x: Array, index: IntArray) -> Array:
        """Return the rows x[index], [N, F] from x [G, F]."""

    def sum_by(self, x: Array, group: IntArray, num_groups: int) -> Array:
        """Sum the rows of x [N, F] by group [N]: [G, F]."""

    def sum_runs(self, x: Array, weight: Array, start: IntArray) -> Array:
        """Sum x [C, F] times weight [C, 1] over each run [start[t], start[t+1]): [T, F]."""

    def group_max(self, x: Array, start: IntArray) -> Array:
        """Return the largest of x [C, F] in each run [start[t], start[t+1]), without gradient."""

    def rows_to_candidates(self, rows: Array, layout: CandidateGraph) -> Array:
        """Sum over each task's annotations the rows [Q, F] of their pairs: [C, F]."""

    def candidates_to_rows(self, candidates: Array, layout: CandidateGraph) -> Array:
        """Sum over each pair's annotations the candidates [C, F] of their tasks: [Q, F]."""
