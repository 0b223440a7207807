"""Messages between the parts of components, as rows that Spark can shuffle.

Every part is a node: a number, which is the partition where it runs. A message is pickled and cut
into pieces, so that no row and no record batch is large.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

__all__ = ["PART_SCHEMA", "Parcel", "pack", "unpack"]

# Grain: one piece of a parcel. superstep, sender and place (among all that the sender sent then)
# name the parcel; node is where it goes.
PART_SCHEMA = "node int, superstep int, sender int, place int, piece int, body binary"

_ARROW = pa.schema(
    [
        *(pa.field(name, pa.int32()) for name in ("node", "superstep", "sender", "place", "piece")),
        pa.field("body", pa.binary()),
    ]
)
_PIECE = 4 << 20  # bytes


class Parcel(NamedTuple):
    """Something for a node: its own state, or a message."""

    node: int
    content: Any


def pack(parcels: Iterable[Parcel], *, superstep: int, sender: int) -> Iterator[pa.RecordBatch]:
    """Pickle parcels and yield them piece by piece."""
    for place, parcel in enumerate(parcels):
        body = memoryview(pickle.dumps(parcel.content, protocol=5))
        for piece, start in enumerate(range(0, len(body), _PIECE)):
            row = [parcel.node, superstep, sender, place, piece, body[start : start + _PIECE]]
            yield pa.RecordBatch.from_arrays(
                [pa.array([value], field.type) for value, field in zip(row, _ARROW, strict=True)],
                schema=_ARROW,
            )


def unpack(batches: Iterable[pa.RecordBatch]) -> list[Any]:
    """Put together all that one node was sent, in the order of superstep, sender and place."""
    pieces: dict[tuple[int, int, int], dict[int, bytes]] = {}
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in _ARROW.names[1:]]
        for superstep, sender, place, piece, body in zip(*columns, strict=True):
            pieces.setdefault((superstep, sender, place), {})[piece] = body
    contents = []
    for key in sorted(pieces):
        parcel = pieces.pop(key)
        contents.append(pickle.loads(b"".join(parcel[piece] for piece in sorted(parcel))))
    return contents
