"""Vectors of sixteen numbers for compiled loops, where the compiler would not find them itself.

A `Vector` lives in registers: sixteen lanes of one floating type, in whatever the processor has
(one register of AVX-512, two of AVX2, four of NEON). `+`, `-` and `*` are lane by lane, and a
product that is added may be fused. How they are read from arrays and written: vector_memory.py.

The attention loops hold four heads in the four lanes of a quad: lane 4 i + h is number i of head h.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,import-untyped"

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, overload, register_model

__all__ = [
    "LANES",
    "QUAD",
    "Vector",
    "any_above",
    "as_double",
    "exp",
    "first_lanes",
    "intrinsic",
    "inverse",
    "max_lanes",
    "maximum",
    "quad_max",
    "quad_sum",
    "shuffle",
    "splat",
    "spread",
    "sum_lanes",
    "times_plus",
]

LANES = 16
QUAD = 4
_FLAGS = ("contract",)

# Its calls take what follows the typing context; numba's own annotation says otherwise.
intrinsic: Any = numba_intrinsic


class Vector(types.Type):
    """Sixteen lanes of `dtype`."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type) -> None:
        lane = manager.lookup(fe_type.dtype).get_value_type()
        super().__init__(manager, fe_type, ir.VectorType(lane, LANES))


def shuffle(builder, vector, lanes):
    """Code that copies lanes, given by number, side by side."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(vector, vector, mask)


@intrinsic
def splat(typing, number):
    """Write one number to all lanes."""

    def code(context, builder, signature, args):
        undefined = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        single = builder.insert_element(undefined, args[0], cgutils.int32_t(0))
        return shuffle(builder, single, [0] * LANES)

    return Vector(number)(number), code


@intrinsic
def spread(typing, vector, part):
    """Copy lanes 4 part ... 4 part + 3 to a quad each; `part` is a literal."""
    if not isinstance(part, types.IntegerLiteral):
        return None
    lanes = [QUAD * part.literal_value + lane // QUAD for lane in range(LANES)]

    def code(context, builder, signature, args):
        return shuffle(builder, args[0], lanes)

    return vector(vector, part), code


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _over_quads(combine):
    """An intrinsic that combines the four quads; the result stands in all of them."""

    def typed(typing, vector):
        def code(context, builder, signature, args):
            (out,) = args
            for step in (8, 4):
                rotated = [(lane + step) % LANES for lane in range(LANES)]
                out = combine(builder, out, shuffle(builder, out, rotated))
            return out

        return vector(vector), code

    return typed


def _lanewise(combine):
    def typed(typing, a, b):
        def code(context, builder, signature, args):
            return combine(builder, *args)

        return a(a, b), code

    return typed


def _sum(builder, a, b):
    return builder.fadd(a, b, flags=_FLAGS)


def _difference(builder, a, b):
    return builder.fsub(a, b, flags=_FLAGS)


def _product(builder, a, b):
    return builder.fmul(a, b, flags=_FLAGS)


def times_plus(builder, a, b, c):
    """Code for a * b + c."""
    return _sum(builder, _product(builder, a, b), c)


quad_sum = intrinsic(_over_quads(_sum))
quad_max = intrinsic(_over_quads(_larger))
maximum = intrinsic(_lanewise(_larger))
_add = intrinsic(_lanewise(_sum))
_subtract = intrinsic(_lanewise(_difference))
_multiply = intrinsic(_lanewise(_product))


@overload(operator.add)
def _overload_add(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _add(a, b)
    return None


@overload(operator.sub)
def _overload_sub(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _subtract(a, b)
    return None


@overload(operator.mul)
def _overload_mul(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _multiply(a, b)
    return None


@intrinsic
def inverse(typing, vector):
    """One divided by every lane."""

    def code(context, builder, signature, args):
        one = ir.Constant(args[0].type, [1.0] * LANES)
        return builder.fdiv(one, args[0], flags=_FLAGS)

    return vector(vector), code


@intrinsic
def any_above(typing, a, b):
    """Whether a lane of a is larger than that of b."""

    def code(context, builder, signature, args):
        bits = builder.bitcast(builder.fcmp_ordered(">", *args), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(a, b), code


def _over_lanes(combine):
    """An intrinsic that combines all lanes to one number, in a fixed order."""

    def typed(typing, vector):
        def code(context, builder, signature, args):
            (out,) = args
            for half in (8, 4, 2, 1):  # in ever smaller registers
                low = shuffle(builder, out, list(range(half)))
                out = combine(builder, low, shuffle(builder, out, list(range(half, 2 * half))))
            return builder.extract_element(out, cgutils.int32_t(0))

        return vector.dtype(vector), code

    return typed


sum_lanes = intrinsic(_over_lanes(_sum))
max_lanes = intrinsic(_over_lanes(_larger))


@intrinsic
def first_lanes(typing, vector, number, rest):
    """Return the first lanes of a vector, and those of `rest` behind them."""

    def code(context, builder, signature, args):
        kind = ir.VectorType(ir.IntType(64), LANES)
        single = builder.insert_element(
            ir.Constant(kind, ir.Undefined), args[1], cgutils.int32_t(0)
        )
        places = ir.Constant(kind, list(range(LANES)))
        is_first = builder.icmp_signed("<", places, shuffle(builder, single, [0] * LANES))
        return builder.select(is_first, args[0], args[2])

    return vector(vector, types.intp, vector), code


@intrinsic
def as_double(typing, vector):
    """Return the same numbers in float64."""

    def code(context, builder, signature, args):
        wide = context.get_value_type(signature.return_type)
        return args[0] if args[0].type == wide else builder.fpext(args[0], wide)

    return Vector(types.float64)(vector), code


@intrinsic
def exp(typing, vector):
    """Exponential of lanes that are at most 0: relative error below 2e-7 in float32 and 1e-15 in
    float64; 0 where the result would not be a normal number.

    2^k times the Taylor series at the rest, which is at most log(2) / 2 away from 0.
    """
    # Degree of the series, bits of the mantissa, bias of the exponent, and log(2) in two parts, of
    # which the first has so few digits that its product with k is exact.
    degree, mantissa, bias, high = {
        types.float32: (7, 23, 127, 0.693359375),
        types.float64: (13, 52, 1023, float.fromhex("0x1.62e42fee00000p-1")),
    }[vector.dtype]
    low = math.log(2) - high if vector.dtype == types.float32 else 1.90821492927058770002e-10
    lowest = (2 - bias) * math.log(2)

    def code(context, builder, signature, args):
        (x,) = args
        kind = x.type
        whole = ir.VectorType(ir.IntType({23: 32, 52: 64}[mantissa]), LANES)

        def all_lanes(value):
            return ir.Constant(kind, [value] * LANES)

        least = all_lanes(_rounded(lowest, mantissa))
        bounded = _larger(builder, x, least)
        # Not above 0, so that cutting off after subtracting a half rounds to the nearest.
        scaled = times_plus(
            builder, bounded, all_lanes(_rounded(1 / math.log(2), mantissa)), all_lanes(-0.5)
        )
        k = builder.fptosi(scaled, whole)
        k_float = builder.sitofp(k, kind)
        rest = times_plus(builder, k_float, all_lanes(-high), x)
        rest = times_plus(builder, k_float, all_lanes(_rounded(-low, mantissa)), rest)
        series = all_lanes(_rounded(1 / math.factorial(degree), mantissa))
        for n in range(degree - 1, -1, -1):
            series = times_plus(
                builder, series, rest, all_lanes(_rounded(1 / math.factorial(n), mantissa))
            )
        biased = builder.add(k, ir.Constant(whole, [bias] * LANES))
        power = builder.shl(biased, ir.Constant(whole, [mantissa] * LANES))
        value = _product(builder, series, builder.bitcast(power, kind))
        below = builder.fcmp_ordered("<", x, least)
        return builder.select(below, all_lanes(0.0), value)

    return vector(vector), code


def _rounded(value: float, mantissa: int) -> float:
    """Return the value as the nearest number of the type with so many bits of mantissa."""
    return float(np.float32(value)) if mantissa == 23 else value
