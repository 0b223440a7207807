"""Reads the footers of Parquet files where they lie, before Spark fails on a damaged one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

__all__ = ["FOOTER_SCHEMA", "read_footers"]

# Grain: one file. types: of some columns, in an order of their own; null without a sound footer.
FOOTER_SCHEMA = "path string, types string"

_ARROW = pa.schema([pa.field("path", pa.string()), pa.field("types", pa.string())])


def read_footers(
    wanted: tuple[str, ...],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for mapInArrow over rows (path): names the types of `wanted` columns."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            paths = batch.column("path").to_pylist()
            types = [_types(path, wanted) for path in paths]
            yield pa.RecordBatch.from_pydict({"path": paths, "types": types}, schema=_ARROW)

    return read


def _types(path: str, wanted: tuple[str, ...]) -> str | None:
    if "://" in path:
        try:
            system, inner = fs.FileSystem.from_uri(path)
        except (pa.ArrowException, OSError):
            return ""  # an address that Arrow cannot open says nothing about the file
    else:
        system, inner = fs.LocalFileSystem(), path.removeprefix("file:")
    try:
        footer = pq.read_metadata(inner, filesystem=system)
    except (pa.ArrowInvalid, OSError):
        return None
    columns = [footer.schema.column(index) for index in range(footer.num_columns)]
    return "; ".join(
        sorted(
            f"{column.path} {column.physical_type} {column.logical_type}"
            for column in columns
            if column.path.partition(".")[0] in wanted
        )
    )
