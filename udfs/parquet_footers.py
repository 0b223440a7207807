"""Finds damaged Parquet files where they lie, before Spark fails on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

__all__ = ["without_sound_footer"]


def without_sound_footer(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Keep of rows (path) those whose file has no readable Parquet footer; for mapInArrow."""
    for batch in batches:
        bad = [path for path in batch.column("path").to_pylist() if not _has_sound_footer(path)]
        yield pa.RecordBatch.from_pydict({"path": pa.array(bad, pa.string())})


def _has_sound_footer(path: str) -> bool:
    try:
        if urlsplit(path).scheme in ("", "file"):
            pq.read_metadata(unquote(urlsplit(path).path))
        else:
            system, inner = fs.FileSystem.from_uri(path)
            pq.read_metadata(inner, filesystem=system)
    except pa.ArrowInvalid as error:
        # An address that Arrow has no file system for says nothing about the file.
        return "filesystem" in str(error).lower()
    return True
