"""Messages between the parts of components, as rows that Spark can shuffle.

Every part is a node: a number, which is the partition where it runs. A message is pickled, its
arrays beside it as they are, and cut into pieces, so that no row and no record batch is large, and
neither side ever holds a message twice.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from crowdfm_core.errors import ScoringError

__all__ = ["PART_SCHEMA", "Parcel", "pack", "unpack"]

# Grain: one piece of a parcel. superstep, sender and place (among all that the sender sent then)
# name the parcel; node: where it goes; start: where in the parcel's `size` bytes the piece begins.
PART_SCHEMA = (
    "node int, superstep int, sender int, place int, start bigint, size bigint, body binary"
)

_ARROW = pa.schema(
    [
        *(pa.field(name, pa.int32()) for name in ("node", "superstep", "sender", "place")),
        *(pa.field(name, pa.int64()) for name in ("start", "size")),
        pa.field("body", pa.binary()),
    ]
)
_PIECE = 4 << 20  # bytes
_ALIGNED = 64  # bytes: compiled loops take arrays only where these begin


class Parcel(NamedTuple):
    """Something for a node: its own state, or a message."""

    node: int
    content: Any


def pack(parcels: Iterable[Parcel], *, superstep: int, sender: int) -> Iterator[pa.RecordBatch]:
    """Pickle parcels and yield them piece by piece."""
    for place, (node, content) in enumerate(parcels):
        sections = _sections(content)
        size = sum(section.nbytes for section in sections)
        start = 0
        for body in _pieces(sections):
            row = [node, superstep, sender, place, start, size, body]
            yield pa.RecordBatch.from_arrays(
                [pa.array([value], field.type) for value, field in zip(row, _ARROW, strict=True)],
                schema=_ARROW,
            )
            start += len(body)


def unpack(batches: Iterable[pa.RecordBatch]) -> list[Any]:
    """Put together all that one node was sent, in the order of superstep, sender and place.

    Raises ScoringError where a piece did not arrive.
    """
    bodies: dict[tuple[int, ...], bytearray] = {}
    missing: dict[tuple[int, ...], int] = {}
    for batch in batches:
        numbers = [batch.column(name).to_pylist() for name in _ARROW.names[1:-1]]
        for *key, start, size, body in zip(*numbers, batch.column("body"), strict=True):
            parcel = tuple(key)
            if parcel not in bodies:
                bodies[parcel], missing[parcel] = bytearray(size), size
            piece = memoryview(body.as_buffer())
            bodies[parcel][start : start + len(piece)] = piece
            missing[parcel] -= len(piece)
    for (superstep, sender, _), number in missing.items():
        if number:
            raise ScoringError(
                f"blocks, superstep {superstep}: expected all pieces of what part {sender} sent, "
                f"{number} bytes are missing; run again, and report this if it comes back"
            )
    return [_content(bodies.pop(parcel)) for parcel in sorted(bodies)]


def _sections(content: Any) -> list[memoryview]:
    """Return a parcel's bytes: how long the others are, the pickle, and the arrays it refers to."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(content, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(pickled), *(array.raw() for array in arrays)]
    sizes = np.array([len(parts), *(part.nbytes for part in parts)], np.int64)
    sections = []
    for part in (memoryview(sizes.tobytes()), *parts):
        sections += [part, memoryview(bytes(-part.nbytes % _ALIGNED))]
    return sections


def _content(body: bytearray) -> Any:
    """Return what _sections was given; its arrays are views of the body."""
    number = int(np.frombuffer(body, np.int64, 1)[0])
    sizes = np.frombuffer(body, np.int64, number, offset=8)
    before = np.array([8 * (number + 1), *sizes[:-1]])
    starts = np.cumsum(before + -before % _ALIGNED)
    view = memoryview(body)
    pickled, *arrays = (view[a : a + n] for a, n in zip(starts, sizes, strict=True))
    return pickle.loads(pickled, buffers=arrays)


def _pieces(sections: Sequence[memoryview]) -> Iterator[bytes]:
    """Cut sections, one after another, into pieces of _PIECE bytes; the last may be shorter."""
    held: list[memoryview] = []
    size = 0
    for section in sections:
        rest = section
        while rest.nbytes:
            held.append(rest[: _PIECE - size])
            rest = rest[_PIECE - size :]
            size += held[-1].nbytes
            if size == _PIECE:
                # Copied: pyarrow never lets go of a memoryview that pa.array was given.
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)
