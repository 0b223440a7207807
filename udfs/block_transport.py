"""Messages between the parts of components, as elements of RDDs that Spark can shuffle.

Every part is a node: a number, which is the partition where it runs. A message is pickled, its
arrays beside it as they are, and cut into pieces, so that neither side ever holds a message twice.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from crowdfm_core.errors import ScoringError

__all__ = [
    "PIECE_SCHEMA",
    "Parcel",
    "Piece",
    "content_of",
    "node_and_piece",
    "pack",
    "partition_of",
    "piece_rows",
    "sections_of",
    "unpack",
]

# Grain: one piece, before the first shuffle, in a data frame.
PIECE_SCHEMA = (
    "node int, superstep int, sender int, place int, start bigint, size bigint, body binary"
)

_ARROW = pa.schema(
    [
        *(pa.field(name, pa.int32()) for name in ("node", "superstep", "sender", "place")),
        *(pa.field(name, pa.int64()) for name in ("start", "size")),
        pa.field("body", pa.binary()),
    ]
)
# Python holds some hundred pieces before they are shuffled, at first up to a thousand.
_PIECE = 64 << 10  # bytes
_ROWS = 64  # of a record batch of pieces
_ALIGNED = 64  # bytes: compiled loops take arrays only where these begin


class Parcel(NamedTuple):
    """Something for a node: its own state, or a message."""

    node: int
    content: Any


class Piece(NamedTuple):
    """Of a parcel: superstep, sender and place (among all that the sender sent then) name it, and
    `body` is what begins at `start` of its `size` bytes."""

    superstep: int
    sender: int
    place: int
    start: int
    size: int
    body: bytes


def pack(parcels: Iterable[Parcel], *, superstep: int, sender: int) -> Iterator[tuple[int, Piece]]:
    """Pickle parcels and yield them piece by piece, each with its node."""
    for place, (node, content) in enumerate(parcels):
        sections = sections_of(content)
        size = sum(section.nbytes for section in sections)
        start = 0
        for body in _pieces(sections):
            yield node, Piece(superstep, sender, place, start, size, body)
            start += len(body)


def unpack(sent: Iterable[tuple[int, Piece]]) -> dict[int, list[Any]]:
    """Put together all that nodes were sent: for each, in the order of superstep, sender and place.

    Raises ScoringError where a piece did not arrive, and where two parcels have one name.
    """
    bodies: dict[tuple[int, int, int, int], bytearray] = {}
    missing: dict[tuple[int, int, int, int], int] = {}
    for node, (superstep, sender, place, start, size, body) in sent:
        parcel = node, superstep, sender, place
        if parcel not in bodies:
            bodies[parcel], missing[parcel] = bytearray(size), size
        bodies[parcel][start : start + len(body)] = body
        missing[parcel] -= len(body)
    for (_, superstep, sender, place), number in missing.items():
        if number < 0:
            raise ScoringError(
                f"blocks, superstep {superstep}: part {sender} sent two things as number {place}; "
                "report this"
            )
        if number:
            raise ScoringError(
                f"blocks, superstep {superstep}: expected all pieces of what part {sender} sent, "
                f"{number} bytes are missing; run again, and report this if it comes back"
            )
    contents: dict[int, list[Any]] = {}
    for parcel in sorted(bodies):
        contents.setdefault(parcel[0], []).append(content_of(bodies.pop(parcel)))
    return contents


def piece_rows(pieces: Iterable[tuple[int, Piece]]) -> Iterator[pa.RecordBatch]:
    """Turn pieces and their nodes into rows of PIECE_SCHEMA."""
    rest = iter(pieces)
    while some := [(node, *piece) for node, piece in islice(rest, _ROWS)]:
        columns = zip(*some, strict=True)
        arrays = [pa.array(c, field.type) for c, field in zip(columns, _ARROW, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=_ARROW)


def node_and_piece(row: Sequence[Any]) -> tuple[int, Piece]:
    """Turn a row of PIECE_SCHEMA back."""
    node, *piece = row
    return node, Piece(*piece)


def partition_of(node: int) -> int:
    """Every node is a partition."""
    return node


def sections_of(content: Any) -> list[memoryview]:
    """Return a parcel's bytes: how long the others are, the pickle, and the arrays it refers to."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(content, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(pickled), *(array.raw() for array in arrays)]
    sizes = np.array([len(parts), *(part.nbytes for part in parts)], np.int64)
    sections = []
    for part in (memoryview(sizes.tobytes()), *parts):
        sections += [part, memoryview(bytes(-part.nbytes % _ALIGNED))]
    return sections


def content_of(body: bytearray) -> Any:
    """Return what sections_of was given; its arrays are views of the body."""
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
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)
