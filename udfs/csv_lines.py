"""Joins the lines of CSV files to records where a quoted field holds line breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter

import pyarrow as pa

from crowdfm_core.csv_records import join_lines

__all__ = ["RECORD_SCHEMA", "join_csv_lines"]

# Grain: one record of a file; not intact where a quote is never closed.
RECORD_SCHEMA = "source_file string, record string, intact boolean"

_ARROW = pa.schema(
    [
        pa.field("source_file", pa.string()),
        pa.field("record", pa.string()),
        pa.field("intact", pa.bool_()),
    ]
)
_OUTPUT_ROWS = 10_000


def join_csv_lines(
    *, delimiter: str, quote: str, escape: str, has_header: bool
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow over rows (source_file, value), the lines of whole files.

    Lines of a file follow one another in order. Records come out without their last line end;
    blank ones and, with `has_header`, the first of each file are left out.
    """

    def join(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        records = _records(batches)
        while rows := list(islice(records, _OUTPUT_ROWS)):
            yield pa.RecordBatch.from_pylist(
                [dict(zip(_ARROW.names, row, strict=True)) for row in rows], schema=_ARROW
            )

    def _records(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str, bool]]:
        for file, rows in groupby(_rows(batches), key=itemgetter(0)):
            lines = (f"{line}\n" for _, line in rows)
            joined = join_lines(lines, delimiter=delimiter, quote=quote, escape=escape)
            for _, text, intact in islice(joined, int(has_header), None):
                record = text.rstrip("\r\n")
                if record:
                    yield file, record, intact

    return join


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str]]:
    for batch in batches:
        yield from zip(
            batch.column("source_file").to_pylist(), batch.column("value").to_pylist(), strict=True
        )
