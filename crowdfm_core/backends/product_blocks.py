"""Blocks of products with small matrices: as many rows at once as the registers hold.

Letters: N rows, F features, H outputs.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,import-untyped"

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

from crowdfm_core.backends.vector_memory import address
from crowdfm_core.backends.vectors import LANES, intrinsic, shuffle, times_plus

__all__ = ["add_block", "block_rows"]


def _rows(dtype) -> int:
    """Rows whose sums take half of sixteen registers of 32 bytes, or of what AVX-512 has; with
    more the sums would be written to memory and read again for every product."""
    if llvm.get_host_cpu_features().get("avx512f"):
        return 8
    return 4 if dtype == types.float32 else 2


@intrinsic
def block_rows(typing, array):
    """How many rows `add_block` takes."""

    def code(context, builder, signature, args):
        return context.get_constant(types.intp, _rows(signature.args[0].dtype))

    return types.intp(array), code


@intrinsic
def add_block(typing, x, x_at, x_step, weight, weight_at, width, features, out, out_at):
    """Add sixteen columns of x @ weight to those of out, for `block_rows(out)` rows.

    x.flat[x_at] is the first feature of the first row, the next row's x_step behind;
    weight.flat[weight_at] the first of these columns, the next feature's `width` behind;
    out.flat[out_at] that of the first row, the next row's `width` behind.
    """

    def code(context, builder, signature, args):
        x, x_at, x_step, weight, weight_at, width, features, out, out_at = args
        x_type, weight_type, out_type = (signature.args[i] for i in (0, 3, 7))
        rows = [cgutils.intp_t(row) for row in range(_rows(out_type.dtype))]

        def place_in(array_type, array, at, lanes):
            return address(context, builder, array_type, array, at, lanes)

        def behind(first, step):
            return [builder.add(first, builder.mul(step, row)) for row in rows]

        targets = [place_in(out_type, out, at, LANES) for at in behind(out_at, width)]
        kind = ir.VectorType(context.get_value_type(out_type.dtype), LANES)
        totals = [cgutils.alloca_once(builder, kind) for _ in rows]
        for (target, size), total in zip(targets, totals, strict=True):
            builder.store(builder.load(target, align=size), total)
        starts = behind(x_at, x_step)
        with cgutils.for_range(builder, features) as loop:
            at = builder.add(weight_at, builder.mul(loop.index, width))
            source, size = place_in(weight_type, weight, at, LANES)
            weights = builder.load(source, align=size)
            for start, total in zip(starts, totals, strict=True):
                source, size = place_in(x_type, x, builder.add(start, loop.index), 1)
                number = shuffle(builder, builder.load(source, align=size), [0] * LANES)
                builder.store(times_plus(builder, number, weights, builder.load(total)), total)
        for (target, size), total in zip(targets, totals, strict=True):
            builder.store(builder.load(total), target, align=size)
        return context.get_dummy_value()

    place = types.intp
    return types.void(x, place, place, weight, place, place, place, out, place), code
