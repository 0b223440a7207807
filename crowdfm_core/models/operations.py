"""The operations an architecture needs beyond what NumPy arrays and torch tensors share.

Both support `@`, reshape, swapaxes, arithmetic and indexing with the same meaning; the rest is
this protocol. Letters: C centres, N neighbours, K option rows, P (node, option) pairs, H heads,
D width.
"""

from __future__ import annotations

from typing import Any, Protocol

from crowdfm_core.graph import Side

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
