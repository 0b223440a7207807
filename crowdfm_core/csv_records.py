"""Joins the lines of a delimited text file to records, and survives quotes that never close."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from io import StringIO

__all__ = ["csv_fields", "join_lines"]

_MAX_CHARACTERS = 1_000_000  # that line breaks within quotes may hold together


def join_lines(
    lines: Iterable[str], *, delimiter: str = ",", quote: str = '"', escape: str = '"'
) -> Iterator[tuple[int, str, bool]]:
    """Yield (number of its first line from 1, text, intact) per record, in order, in one pass.

    lines: with their line ends, which the text keeps. A record takes in further lines only if that
    makes one well-formed record with as many fields as the first record of the file. Otherwise its
    quote was never closed: the line alone comes out as not intact, and reading goes on with the
    next line, so that damage costs one line and never the rest of the file.
    """
    source, put_back = iter(lines), deque[str]()
    number, num_fields = 1, 0

    def following() -> str | None:
        return put_back.popleft() if put_back else next(source, None)

    def count_fields(text: str) -> int:
        try:
            return len(csv_fields(text, delimiter=delimiter, quote=quote, escape=escape))
        except csv.Error:
            return 0

    def has_odd_quotes(line: str) -> bool:
        plain = line.replace(escape + escape, "").replace(escape + quote, "")
        return plain.count(quote) % 2 == 1

    while (line := following()) is not None:
        taken, text = [line], line
        if has_odd_quotes(line) and not count_fields(line):
            size = len(line)
            while size <= _MAX_CHARACTERS and (more := following()) is not None:
                taken.append(more)
                size += len(more)
                if has_odd_quotes(more):
                    break
            text = "".join(taken)
            found = count_fields(text)
            if not found or found != (num_fields or found):
                put_back.extendleft(reversed(taken[1:]))
                yield number, line, False
                number += 1
                continue
        num_fields = num_fields or count_fields(text)
        yield number, text, True
        number += len(taken)


def csv_fields(
    text: str, *, delimiter: str = ",", quote: str = '"', escape: str = '"'
) -> list[str]:
    """Return the fields of the one record that the text is; none of a blank line.

    Raises csv.Error if it is more than one record, or not well-formed.
    """
    doubled = escape == quote
    csv.field_size_limit(_MAX_CHARACTERS)
    records = list(
        csv.reader(
            StringIO(text, newline=""),
            delimiter=delimiter,
            quotechar=quote,
            doublequote=doubled,
            escapechar=None if doubled else escape,
            strict=True,
        )
    )
    if len(records) > 1:
        raise csv.Error(f"expected one record, found {len(records)}")
    return records[0] if records else []
