"""Operations on torch tensors with gradients: compiled loops on the CPU, segments on CUDA."""

# torch's autograd hooks carry no types.
# mypy: disable-error-code="call-arg,no-untyped-call,no-untyped-def,misc,override"

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from crowdfm_core.backends import kernels
from crowdfm_core.graph import Side

try:  # sorted segment sums; without it torch's own index_add serves
    from torch_scatter import segment_csr
except ImportError:
    segment_csr = None

__all__ = ["TorchOps", "cuda_is_available"]


class TorchOps:
    """The operations of `crowdfm_core.models.operations.Operations` on torch tensors."""

    def __init__(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        # Copied once per batch, not once per layer; the two sides of the present batch are kept.
        self._indices: list[tuple[Side, dict[str, torch.Tensor]]] = []

    def array(self, values: Any) -> torch.Tensor:
        """Return `values` as a tensor of this backend's floating type on its device."""
        return torch.as_tensor(np.asarray(values)).to(self.device, self.dtype)

    def rows_times(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return x @ weight."""
        return x @ weight

    def pair_scores(self, z: torch.Tensor, tables: torch.Tensor, side: Side) -> torch.Tensor:
        """See `Operations.pair_scores`."""
        if self.device.type == "cpu":
            scores: torch.Tensor = _PairScores.apply(z, tables, side)
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
        if self.device.type == "cpu":
            log_sum, z_sum, option_sum = _Attention.apply(
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

    def _index(self, side: Side) -> dict[str, torch.Tensor]:
        for known, index in self._indices:
            if known is side:
                return index
        index = _on_device(side, self.device)
        self._indices = [*self._indices[-1:], (side, index)]
        return index


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, tables, side):
        ctx.save_for_backward(z, tables)
        ctx.side = side
        return torch.from_numpy(
            kernels.pair_scores_forward(
                _array(z), _array(tables), side.pair_centre, side.pair_option
            )
        )

    @staticmethod
    def backward(ctx, grad):
        z, tables = ctx.saved_tensors
        side = ctx.side
        grad_z, grad_tables = kernels.pair_scores_backward(
            _array(grad),
            _array(z),
            _array(tables),
            side.pair_start,
            side.pair_option,
            side.chunk_start,
        )
        return torch.from_numpy(grad_z), torch.from_numpy(grad_tables), None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, z, options, centre_bias, neighbour_bias, centres, neighbours):
        inputs = (queries, z, options, centre_bias, neighbour_bias)
        outputs = kernels.attention_forward(*map(_array, inputs), *_walk(centres))
        log_sum, z_sum, option_sum = map(torch.from_numpy, outputs)
        ctx.save_for_backward(*inputs, log_sum, z_sum, option_sum)
        ctx.sides = centres, neighbours
        ctx.mark_non_differentiable(log_sum)
        return log_sum, z_sum, option_sum

    @staticmethod
    def backward(ctx, _grad_log_sum, grad_z_sum, grad_option_sum):
        centres, neighbours = ctx.sides
        saved = [_array(tensor) for tensor in ctx.saved_tensors]
        queries = saved[0]
        grad_z_sum = _array(grad_z_sum)
        grad_queries, grad_centre, attention, grad_score = kernels.attention_backward_centre(
            *saved, grad_z_sum, _array(grad_option_sum), *_walk(centres)
        )
        grad_z, grad_neighbour = kernels.attention_backward_neighbour(
            queries,
            grad_z_sum,
            attention,
            grad_score,
            neighbours.pair_start,
            neighbours.entry_start,
            neighbours.neighbour,
            neighbours.other_entry,
            neighbours.chunk_start,
        )
        gradients = map(torch.from_numpy, (grad_queries, grad_z, grad_centre, grad_neighbour))
        of_queries, of_z, of_centre, of_neighbour = gradients
        return of_queries, of_z, None, of_centre, of_neighbour, None, None


def _walk(side: Side) -> tuple[Any, ...]:
    return (
        side.pair_start,
        side.pair_option,
        side.entry_start,
        side.neighbour,
        side.neighbour_pair,
        side.chunk_start,
    )


def _array(tensor: torch.Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().numpy())


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
