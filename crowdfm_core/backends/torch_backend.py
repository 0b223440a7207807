"""Operations on torch tensors with gradients: compiled loops on the CPU, segments on CUDA."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from crowdfm_core.backends import candidate_kernels
from crowdfm_core.backends.torch_functions import (
    AlongAnnotations,
    Attention,
    PairScores,
    SumBy,
    Take,
    as_array,
)
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.graph import IntArray, Side

try:  # sorted segment sums; without it torch's own index_add serves
    from torch_scatter import segment_csr
except ImportError:
    segment_csr = None

__all__ = ["TorchOps", "cuda_is_available"]

_KEPT_INDICES = 32  # a batch has about a dozen


class TorchOps:
    """The operations of `crowdfm_core.models.operations.Operations` on torch tensors."""

    def __init__(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.uses_loops = self.device.type == "cpu"
        # Copied once per batch, not once per layer; the two sides of the present batch are kept.
        self._indices: list[tuple[Side, dict[str, torch.Tensor]]] = []
        self._moved_indices: dict[int, tuple[IntArray, torch.Tensor]] = {}
        self._linked: tuple[CandidateGraph, torch.Tensor, torch.Tensor] | None = None

    def array(self, values: Any) -> torch.Tensor:
        """Return `values` as a tensor of this backend's floating type on its device."""
        return torch.as_tensor(np.asarray(values)).to(self.device, self.dtype)

    def rows_times(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return x @ weight."""
        return x @ weight

    def two_layers(
        self,
        columns: list[torch.Tensor],
        gathered: list[tuple[torch.Tensor, IntArray]],
        hidden_weight: torch.Tensor,
        hidden_bias: torch.Tensor,
        output_weight: torch.Tensor,
        output_bias: torch.Tensor,
    ) -> torch.Tensor:
        """See `Operations.two_layers`."""
        hidden = self.concat(columns) @ hidden_weight
        for values, index in gathered:
            hidden = hidden + self.take(values, index)
        return torch.relu(hidden + hidden_bias) @ output_weight + output_bias

    def quadratic_forms(
        self, x: torch.Tensor, square: torch.Tensor, linear: torch.Tensor
    ) -> torch.Tensor:
        """See `Operations.quadratic_forms`."""
        products = (x @ square).reshape(len(x), linear.shape[1], -1)
        return (products * x[:, None]).sum(-1) + x @ linear

    def pair_scores(self, z: torch.Tensor, tables: torch.Tensor, side: Side) -> torch.Tensor:
        """See `Operations.pair_scores`."""
        if self.uses_loops:
            scores: torch.Tensor = PairScores.apply(z, tables, side)
            return scores
        return _segment_pair_scores(z, tables, self._index(side))

    def attention(
        self,
        queries: torch.Tensor,
        z: torch.Tensor,
        options: torch.Tensor,
        centre_bias: torch.Tensor,
        neighbour_bias: torch.Tensor,
        centres: Side,
        neighbours: Side,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Operations.attention`; the options get no gradient, as they are drawn."""
        if self.uses_loops:
            log_sum, z_sum, option_sum = Attention.apply(
                queries, z, options, centre_bias, neighbour_bias, centres, neighbours
            )
            return log_sum, z_sum, option_sum
        return _segment_attention(
            queries, z, options, centre_bias, neighbour_bias, self._index(centres)
        )

    def layer_norm(self, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Normalise the rows of x [N, D], then scale and shift."""
        return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift)

    def log1p(self, x: torch.Tensor) -> torch.Tensor:
        """Return log(1 + x) elementwise."""
        return torch.log1p(x)

    def log(self, x: torch.Tensor) -> torch.Tensor:
        """Return the natural logarithm elementwise."""
        return torch.log(x)

    def exp(self, x: torch.Tensor) -> torch.Tensor:
        """Return the exponential elementwise."""
        return torch.exp(x)

    def relu(self, x: torch.Tensor) -> torch.Tensor:
        """Return max(x, 0) elementwise."""
        return torch.relu(x)

    def at_least(self, x: torch.Tensor, bound: float) -> torch.Tensor:
        """Return max(x, bound) elementwise."""
        return torch.clamp(x, min=bound)

    def concat(self, columns: list[torch.Tensor]) -> torch.Tensor:
        """See `Operations.concat`."""
        return torch.cat(columns, dim=1)

    def take(self, x: torch.Tensor, index: IntArray) -> torch.Tensor:
        """See `Operations.take`."""
        if self.uses_loops:
            rows: torch.Tensor = Take.apply(x, index)
            return rows
        return x.index_select(0, self._moved(index))

    def sum_by(self, x: torch.Tensor, group: IntArray, num_groups: int) -> torch.Tensor:
        """See `Operations.sum_by`."""
        if self.uses_loops:
            sums: torch.Tensor = SumBy.apply(x, group, num_groups)
            return sums
        return x.new_zeros((num_groups, x.shape[1])).index_add(0, self._moved(group), x)

    def sum_runs(self, x: torch.Tensor, weight: torch.Tensor, start: IntArray) -> torch.Tensor:
        """See `Operations.sum_runs`."""
        group = np.repeat(np.arange(len(start) - 1, dtype=np.int32), np.diff(start))
        return self.sum_by(x * weight, group, len(start) - 1)

    def group_max(self, x: torch.Tensor, start: IntArray) -> torch.Tensor:
        """See `Operations.group_max`."""
        x = x.detach()
        if self.uses_loops:
            return torch.from_numpy(candidate_kernels.group_max(as_array(x), start))
        group = self._moved(np.repeat(np.arange(len(start) - 1), np.diff(start)))
        top = x.new_full((len(start) - 1, x.shape[1]), -torch.inf)
        return top.scatter_reduce(0, group[:, None].expand_as(x), x, "amax")

    def rows_to_candidates(self, rows: torch.Tensor, layout: CandidateGraph) -> torch.Tensor:
        """See `Operations.rows_to_candidates`."""
        if self.uses_loops:
            sums: torch.Tensor = AlongAnnotations.apply(rows, layout, True)
            return sums
        row, candidate = self._links(layout)
        out = rows.new_zeros((layout.num_candidates, rows.shape[1]))
        return out.index_add(0, candidate, rows.index_select(0, row))

    def candidates_to_rows(self, candidates: torch.Tensor, layout: CandidateGraph) -> torch.Tensor:
        """See `Operations.candidates_to_rows`."""
        if self.uses_loops:
            sums: torch.Tensor = AlongAnnotations.apply(candidates, layout, False)
            return sums
        row, candidate = self._links(layout)
        out = candidates.new_zeros((layout.num_rows, candidates.shape[1]))
        return out.index_add(0, row, candidates.index_select(0, candidate))

    def _links(self, layout: CandidateGraph) -> tuple[torch.Tensor, torch.Tensor]:
        if self._linked is None or self._linked[0] is not layout:
            row, candidate = (self._copied(index) for index in layout.links())
            self._linked = (layout, row, candidate)
        return self._linked[1:]

    def _moved(self, index: IntArray) -> torch.Tensor:
        """The index on the device; the arrays of the present batch are kept."""
        found = self._moved_indices.get(id(index))
        if found is None or found[0] is not index:
            if len(self._moved_indices) >= _KEPT_INDICES:
                self._moved_indices.clear()
            found = self._moved_indices[id(index)] = (index, self._copied(index))
        return found[1]

    def _copied(self, index: Any) -> torch.Tensor:
        return torch.as_tensor(index, device=self.device, dtype=torch.int64)

    def _index(self, side: Side) -> dict[str, torch.Tensor]:
        for known, index in self._indices:
            if known is side:
                return index
        index = _on_device(side, self.device)
        self._indices = [*self._indices[-1:], (side, index)]
        return index


def _segment_pair_scores(
    z: torch.Tensor, tables: torch.Tensor, index: dict[str, torch.Tensor]
) -> torch.Tensor:
    return (z[index["pair_centre"], None] * tables[index["pair_option"]]).sum(-1)


def _segment_attention(
    queries: torch.Tensor,
    z: torch.Tensor,
    options: torch.Tensor,
    centre_bias: torch.Tensor,
    neighbour_bias: torch.Tensor,
    index: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same sums as `kernels.attention_forward`, over entries sorted by centre."""
    centres, heads, _ = queries.shape
    centre, start = index["entry_centre"], index["centre_start"]
    rows = z[index["neighbour"]]
    scores = (
        torch.einsum("ehd,ed->eh", queries[centre], rows)
        + centre_bias[index["entry_pair"]]
        + neighbour_bias[index["neighbour_pair"]]
    )
    top = torch.full((centres, heads), -torch.inf, dtype=z.dtype, device=z.device)
    top = top.scatter_reduce(0, centre[:, None].expand_as(scores), scores.detach(), "amax")
    exponential = torch.exp(scores - top[centre])
    total = _segment_sum(exponential, centre, start)
    weight = exponential / total[centre]
    z_sum, option_sum = [], []
    # Head by head, so that the largest array is [E, D].
    option_rows = options[index["entry_option"]]
    for head in range(heads):
        share = weight[:, head, None]
        z_sum.append(_segment_sum(share * rows, centre, start))
        option_sum.append(_segment_sum(share * option_rows, centre, start))
    return torch.log(total) + top, torch.stack(z_sum, 1), torch.stack(option_sum, 1)


def _segment_sum(x: torch.Tensor, centre: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    if segment_csr is not None:
        summed: torch.Tensor = segment_csr(x.contiguous(), start, reduce="sum")
        return summed
    return x.new_zeros((len(start) - 1, x.shape[1])).index_add(0, centre, x)


def _on_device(side: Side, device: torch.device) -> dict[str, torch.Tensor]:
    """Index tensors of a side on the device, int64."""
    pair_size = np.diff(side.entry_start)
    arrays = {
        "pair_centre": side.pair_centre,
        "pair_option": side.pair_option,
        "neighbour": side.neighbour,
        "neighbour_pair": side.neighbour_pair,
        "entry_pair": np.repeat(np.arange(len(pair_size)), pair_size),
        "entry_centre": np.repeat(side.pair_centre, pair_size),
        "entry_option": np.repeat(side.pair_option, pair_size),
        "centre_start": side.entry_start[side.pair_start],
    }
    return {
        name: torch.as_tensor(array, device=device, dtype=torch.int64)
        for name, array in arrays.items()
    }


def cuda_is_available() -> bool:
    """Whether this process can use a GPU."""
    return bool(torch.cuda.is_available())
