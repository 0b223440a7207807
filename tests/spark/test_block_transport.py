"""Messages of parts as rows: cut into pieces, put together in order whatever order they come in."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from crowdfm_core.errors import ScoringError
from udfs import block_transport
from udfs.block_transport import Parcel, Piece, node_and_piece, pack, piece_rows, unpack


def test_parcels_come_out_in_the_order_of_superstep_sender_and_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(block_transport, "_PIECE", 200)  # so that an array has many pieces
    large = np.arange(2000)
    sent = [
        *pack([Parcel(1, "late")], superstep=2, sender=0),
        *pack([Parcel(1, large), Parcel(1, "b"), Parcel(4, "other")], superstep=1, sender=7),
        *pack([Parcel(1, "first")], superstep=1, sender=2),
    ]
    assert len(sent) > 80
    draw = np.random.default_rng(0)
    received = unpack(sent[i] for i in draw.permutation(len(sent)))
    assert received.keys() == {1, 4}
    assert received[4] == ["other"]
    first, array, second, late = received[1]
    assert (first, second, late) == ("first", "b", "late")
    np.testing.assert_array_equal(array, large)


def test_no_piece_is_large() -> None:
    pieces = list(pack([Parcel(0, np.zeros(30_000))], superstep=0, sender=0))
    assert max(len(piece.body) for _, piece in pieces) == 64 << 10
    assert len(pieces) == 4


def test_pieces_are_the_same_after_they_were_rows() -> None:
    """As rows they come out of mapInArrow; batches of them are small, too."""
    pieces = list(pack([Parcel(3, np.arange(600_000))], superstep=2, sender=1))
    assert len(pieces) > 64
    batches = list(piece_rows(pieces))
    assert max(batch.num_rows for batch in batches) == 64
    assert received_from(batches) == pieces


def test_what_was_sent_and_received_is_let_go() -> None:
    """Python workers are reused: what they keep of every part adds up (9 GB at 30 million)."""
    array = np.zeros(100_000)
    before = sys.getrefcount(array)
    rows = piece_rows(pack([Parcel(0, array)], superstep=0, sender=0))
    received = unpack(received_from(rows))[0]
    assert sys.getrefcount(array) == before
    body = weakref.ref(base_of(received[0]))
    assert body() is not None
    del received
    assert body() is None


def test_arrays_arrive_aligned_writable_and_of_their_own_kind() -> None:
    """Compiled loops take no others. Strings of Arrow and lists travel, too."""
    sent = {
        "odd": np.arange(3, dtype=np.int8),  # what follows would begin anywhere
        "floats": np.arange(6.0).reshape(2, 3),
        "columns": np.arange(6.0).reshape(2, 3).T,
        "every_second": np.arange(10)[::2],
        "nothing": np.zeros((0, 2), np.float32),
        "text": pa.chunked_array([["a", None, "\u00e9"]]),
        "list": ["x", 1],
    }
    (found,) = unpack(pack([Parcel(0, sent)], superstep=0, sender=0))[0]
    assert found.keys() == sent.keys()
    assert found["list"] == sent["list"]
    assert found["text"].equals(sent["text"])
    for name, array in sent.items():
        if isinstance(array, np.ndarray):
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            assert found[name].flags.aligned
            assert found[name].flags.writeable


def test_a_piece_that_is_lost_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_transport, "_PIECE", 1000)
    pieces = list(pack([Parcel(0, np.zeros(1000))], superstep=3, sender=5))
    with pytest.raises(ScoringError, match=r"superstep 3: .* part 5 sent, 1000 bytes are missing"):
        unpack(pieces[:4] + pieces[5:])


@pytest.mark.parametrize("other", ["b", np.zeros(10)], ids=["of_one_size", "of_another"])
def test_two_parcels_of_one_name_are_an_error(other: Any) -> None:
    pieces = [
        piece
        for content in ("a", other)
        for piece in pack([Parcel(0, content)], superstep=3, sender=5)
    ]
    with pytest.raises(ScoringError, match=r"superstep 3: part 5 sent two things as number 0"):
        unpack(pieces)


def received_from(batches: Iterable[pa.RecordBatch]) -> list[tuple[int, Piece]]:
    """The pieces in rows, with their nodes."""
    rows = (row for batch in batches for row in zip(*batch.to_pydict().values(), strict=True))
    return [node_and_piece(row) for row in rows]


def base_of(array: np.ndarray[Any, Any]) -> Any:
    """The memory that an array is a view of, as far as numpy knows it."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
