"""Messages of parts as rows: cut into pieces, put together in order whatever order they come in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from udfs import block_transport
from udfs.block_transport import Parcel, pack, unpack


def test_parcels_come_out_in_the_order_of_superstep_sender_and_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(block_transport, "_PIECE", 100)  # so that an array has many pieces
    large = np.arange(1000)
    sent = [
        *pack([Parcel(1, "late")], superstep=2, sender=0),
        *pack([Parcel(1, large), Parcel(1, "b"), Parcel(4, "other")], superstep=1, sender=7),
        *pack([Parcel(1, "first")], superstep=1, sender=2),
    ]
    assert len(sent) > 80
    to_one = [row for row in sent if row.column("node")[0].as_py() == 1]
    assert len(to_one) == len(sent) - 1
    draw = np.random.default_rng(0)
    shuffled = pa.Table.from_batches([to_one[i] for i in draw.permutation(len(to_one))])
    first, array, second, late = unpack(shuffled.to_batches(max_chunksize=7))
    assert (first, second, late) == ("first", "b", "late")
    np.testing.assert_array_equal(array, large)


def test_no_piece_is_large() -> None:
    rows = list(pack([Parcel(0, np.zeros(3_000_000))], superstep=0, sender=0))
    assert max(len(row.column("body")[0].as_py()) for row in rows) == 4 << 20
    assert len(rows) == 6
