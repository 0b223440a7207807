"""How vectors are read from arrays and written to them.

At offsets from an array's first element, so that it must be contiguous, and no view of a row is
ever made. Nothing is checked: a caller pads what it reads.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,import-untyped"

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from crowdfm_core.backends.vectors import LANES, QUAD, Vector, intrinsic, shuffle

__all__ = ["address", "load", "load_everywhere", "load_quad", "prefetch", "store", "store_quad"]


def address(context, builder, array_type, array, at, lanes):
    """Address of `lanes` elements of an array from place `at` on, as that of one vector, and the
    size of an element."""
    if array_type.layout != "C":
        raise TypingError(f"expected a contiguous array, got {array_type}")
    data = context.make_array(array_type)(context, builder, array).data
    lane = context.get_value_type(array_type.dtype)
    size = context.get_abi_sizeof(lane)
    first = builder.gep(data, [at])
    return builder.bitcast(first, ir.VectorType(lane, lanes).as_pointer()), size


def _address(context, builder, signature, args, lanes):
    """`address` of what an intrinsic's first two arguments name."""
    return address(context, builder, signature.args[0], args[0], args[1], lanes)


@intrinsic
def load(typing, array, at):
    """Read lanes from array.flat[at : at + 16]."""

    def code(context, builder, signature, args):
        place, size = _address(context, builder, signature, args, LANES)
        return builder.load(place, align=size)

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def load_everywhere(typing, array, at):
    """Read array.flat[at] into all lanes; as splat(array[at]) but for negative places, which cost
    more to tell apart than a product."""

    def code(context, builder, signature, args):
        place, size = _address(context, builder, signature, args, 1)
        single = builder.load(place, align=size)
        return shuffle(builder, single, [0] * LANES)

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def load_quad(typing, array, at):
    """Read array.flat[at : at + 4] into every quad."""

    def code(context, builder, signature, args):
        place, size = _address(context, builder, signature, args, QUAD)
        return shuffle(builder, builder.load(place, align=size), [0, 1, 2, 3] * 4)

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def prefetch(typing, array, at):
    """Ask for the memory of array.flat[at], which is read soon."""

    def code(context, builder, signature, args):
        place, _ = _address(context, builder, signature, args, 1)
        byte = builder.bitcast(place, ir.IntType(8).as_pointer())
        integer = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte.type, integer, integer, integer])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [byte, integer(0), integer(3), integer(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), code


@intrinsic
def store(typing, array, at, vector):
    """Write all lanes to array.flat[at : at + 16]."""

    def code(context, builder, signature, args):
        place, size = _address(context, builder, signature, args, LANES)
        builder.store(args[2], place, align=size)
        return context.get_dummy_value()

    return types.void(array, types.intp, Vector(array.dtype)), code


@intrinsic
def store_quad(typing, array, at, vector):
    """Write the first quad to array.flat[at : at + 4]."""

    def code(context, builder, signature, args):
        place, size = _address(context, builder, signature, args, QUAD)
        builder.store(shuffle(builder, args[2], [0, 1, 2, 3]), place, align=size)
        return context.get_dummy_value()

    return types.void(array, types.intp, Vector(array.dtype)), code
