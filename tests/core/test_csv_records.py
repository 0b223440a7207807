"""Lines to records: what a CSV writer wrote comes back, and damage costs one line."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfm_core.csv_records import csv_fields, join_lines

CELLS = st.text(st.sampled_from("ab\",\n\r' \u2028\U0001f600"), max_size=6)


def lines_of(text: str) -> list[str]:
    return list(io.StringIO(text, newline="\n"))


@settings(max_examples=300)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_written_records_come_back(rows: list[tuple[str, ...]], line_end: str) -> None:
    written = io.StringIO(newline="")
    # QUOTE_MINIMAL of the library leaves a lone carriage return bare.
    writer = csv.writer(written, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("task", "worker", "label"), *rows])
    records = list(join_lines(lines_of(written.getvalue())))
    assert all(intact for _, _, intact in records)
    assert "".join(text for _, text, _ in records) == written.getvalue()
    assert [tuple(csv_fields(text)) for _, text, _ in records[1:]] == rows
    lines_before = [written.getvalue()[: _start(records, i)].count("\n") for i in range(len(rows))]
    assert [number for number, _, _ in records[1:]] == [count + 1 for count in lines_before]


def _start(records: list[tuple[int, str, bool]], row: int) -> int:
    return sum(len(text) for _, text, _ in records[: row + 1])


@settings(max_examples=300)
@given(st.text(st.sampled_from('ab",\n'), max_size=60))
def test_any_text_comes_out_whole_and_in_order(text: str) -> None:
    records = list(join_lines(lines_of("a,b\n" + text)))
    assert "".join(part for _, part, _ in records) == "a,b\n" + text


@pytest.mark.parametrize(
    "damaged",
    [
        't2,w2,"b\n',  # never closed, at the end of a line
        '"t2,w2,b\n',  # at its start
        't2,"w2,b\n',
    ],
)
@pytest.mark.parametrize("after", ["", 't9,w9,"x"\n', 't9,w9,"two\nlines"\n', 't9,w9,5" nail\n'])
def test_quote_that_never_closes_costs_one_line(damaged: str, after: str) -> None:
    text = f"task,worker,label\nt1,w1,a\n{damaged}t3,w3,c\n{after}"
    records = list(join_lines(lines_of(text)))
    assert [(number, part) for number, part, intact in records if not intact] == [(3, damaged)]
    tasks = [csv_fields(part)[0] for _, part, intact in records if intact]
    assert tasks == ["task", "t1", "t3", *(["t9"] if after else [])]


def test_quote_within_a_field_and_other_escapes_stay_on_their_line() -> None:
    text = 'task;label\n1;5" nail\n2;"a\\"b"\n3;"a\\"\nb\\\\"\n'
    records = list(join_lines(lines_of(text), delimiter=";", escape="\\"))
    assert [part for _, part, _ in records][1:] == [
        '1;5" nail\n',
        '2;"a\\"b"\n',
        '3;"a\\"\nb\\\\"\n',
    ]


def test_endless_quotes_take_time_that_grows_with_the_text_alone() -> None:
    lines = ['t,w,"open\n', "t,w,a\n"] * 20_000
    records = list(join_lines(["task,worker,label\n", *lines]))
    assert sum(not intact for _, _, intact in records) == 20_000


def test_more_than_one_record_is_refused() -> None:
    with pytest.raises(csv.Error, match="expected one record, found 2"):
        csv_fields("a,b\nc,d\n")
