"""Differentiable functions of torch over the compiled loops, for the CPU."""

# torch's autograd hooks carry no types.
# ruff: noqa: D102 - forward and backward are torch's own words
# mypy: disable-error-code="call-arg,no-untyped-call,no-untyped-def,misc,override"

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from crowdfm_core.backends import candidate_kernels, kernels
from crowdfm_core.graph import Side

__all__ = ["AlongAnnotations", "Attention", "PairScores", "SumBy", "Take", "as_array"]


class Take(torch.autograd.Function):
    """Rows of x [G, F] by index [N]."""

    @staticmethod
    def forward(ctx, x, index):
        ctx.index, ctx.size = index, len(x)
        return torch.from_numpy(np.take(x.detach().numpy(), index, axis=0))

    @staticmethod
    def backward(ctx, grad):
        summed = candidate_kernels.sum_by_group(as_array(grad), ctx.index, ctx.size)
        return torch.from_numpy(summed), None


class SumBy(torch.autograd.Function):
    """Sums of the rows of x [N, F] by group [N]."""

    @staticmethod
    def forward(ctx, x, group, num_groups):
        ctx.group = group
        return torch.from_numpy(candidate_kernels.sum_by_group(as_array(x), group, num_groups))

    @staticmethod
    def backward(ctx, grad):
        return torch.from_numpy(np.take(as_array(grad), ctx.group, axis=0)), None, None


class AlongAnnotations(torch.autograd.Function):
    """Sums from rows to candidates, or back; each is the other's transpose."""

    @staticmethod
    def forward(ctx, x, layout, to_candidates):
        ctx.layout, ctx.to_candidates = layout, to_candidates
        return _along_annotations(as_array(x), layout, to_candidates)

    @staticmethod
    def backward(ctx, grad):
        return _along_annotations(as_array(grad), ctx.layout, not ctx.to_candidates), None, None


def _along_annotations(x, layout, to_candidates):
    if to_candidates:
        out = candidate_kernels.rows_to_candidates(x, *layout.task_walk)
    else:
        out = candidate_kernels.candidates_to_rows(x, *layout.worker_walk)
    return torch.from_numpy(out)


class PairScores(torch.autograd.Function):
    """See `Operations.pair_scores`."""

    @staticmethod
    def forward(ctx, z, tables, side):
        ctx.save_for_backward(z, tables)
        ctx.side = side
        return torch.from_numpy(
            kernels.pair_scores_forward(
                as_array(z), as_array(tables), side.pair_centre, side.pair_option
            )
        )

    @staticmethod
    def backward(ctx, grad):
        z, tables = ctx.saved_tensors
        side = ctx.side
        grad_z, grad_tables = kernels.pair_scores_backward(
            as_array(grad),
            as_array(z),
            as_array(tables),
            side.pair_start,
            side.pair_option,
            side.chunk_start,
        )
        return torch.from_numpy(grad_z), torch.from_numpy(grad_tables), None


class Attention(torch.autograd.Function):
    """See `Operations.attention`; options get no gradient, as they are drawn."""

    @staticmethod
    def forward(ctx, queries, z, options, centre_bias, neighbour_bias, centres, neighbours):
        inputs = (queries, z, options, centre_bias, neighbour_bias)
        outputs = kernels.attention_forward(*map(as_array, inputs), *_walk(centres))
        log_sum, z_sum, option_sum = map(torch.from_numpy, outputs)
        ctx.save_for_backward(*inputs, log_sum, z_sum, option_sum)
        ctx.sides = centres, neighbours
        ctx.mark_non_differentiable(log_sum)
        return log_sum, z_sum, option_sum

    @staticmethod
    def backward(ctx, _grad_log_sum, grad_z_sum, grad_option_sum):
        centres, neighbours = ctx.sides
        saved = [as_array(tensor) for tensor in ctx.saved_tensors]
        queries = saved[0]
        grad_z_sum = as_array(grad_z_sum)
        grad_queries, grad_centre, attention, grad_score = kernels.attention_backward_centre(
            *saved, grad_z_sum, as_array(grad_option_sum), *_walk(centres)
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


def as_array(tensor: torch.Tensor) -> Any:
    """Return the tensor's values as a contiguous array, without its gradient."""
    return np.ascontiguousarray(tensor.detach().numpy())
