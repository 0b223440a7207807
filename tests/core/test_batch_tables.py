"""Batches from Arrow rows, which may come in any order: against Python's own sorting."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfm_core.errors import ScoringError
from udfs.batch_tables import DecodedBatch, halves

# Projects share ids; "Z" stands before "a" in binary order, and what has two bytes after both.
IDS = st.sampled_from(["a", "Z", "aa", "\u00e9", "b b"])
ANSWERS = st.dictionaries(st.tuples(IDS, IDS, IDS), st.integers(0, 2), min_size=1, max_size=30)


def rows_of(answers: dict[tuple[str, str, str], int], order: np.random.Generator) -> pa.Table:
    """Annotations and the options x0, x1 and x2 of their projects, shuffled, in two chunks."""
    projects = sorted({project for project, _, _ in answers})
    rows: list[Any] = [
        (project, task, worker, option, None) for (project, task, worker), option in answers.items()
    ]
    rows += [(project, None, None, at, f"x{at}") for project in projects for at in range(3)]
    shuffled = [rows[at] for at in order.permutation(len(rows))]
    half = len(shuffled) // 2
    return pa.concat_tables([table(shuffled[:half]), table(shuffled[half:])])


def table(rows: list[Any]) -> pa.Table:
    names = ("project_id", "task_id", "worker_id", "option_index", "label")
    types = (pa.string(), pa.string(), pa.string(), pa.int32(), pa.string())
    columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(types)]
    columns += [pa.nulls(len(rows), pa.string()), pa.array([7] * len(rows), pa.int32())]
    return pa.table(columns, names=[*names, "component_id", "batch_index"])


@settings(max_examples=150)
@given(ANSWERS, st.integers(0, 1000))
def test_batch_is_sorted_whatever_the_order_of_rows(
    answers: dict[tuple[str, str, str], int], seed: int
) -> None:
    decoded = DecodedBatch(rows_of(answers, np.random.default_rng(seed)))
    batch = decoded.batch
    in_order = sorted(answers, key=lambda key: tuple(part.encode() for part in key))
    tasks = list(dict.fromkeys(key[:2] for key in in_order))
    workers = sorted(
        {(project, worker) for project, _, worker in answers},
        key=lambda key: tuple(part.encode() for part in key),
    )
    projects = list(dict.fromkeys(key[0] for key in in_order))
    assert [tasks[at] for at in batch.task_index] == [key[:2] for key in in_order]
    assert [workers[at] for at in batch.worker_index] == [(key[0], key[2]) for key in in_order]
    assert batch.option_index.tolist() == [answers[key] for key in in_order]
    assert decoded.option_index.tolist() == [answers[key] for key in in_order]
    assert batch.project_ids == projects
    assert [projects[at] for at in batch.task_project] == [project for project, _ in tasks]
    assert [projects[at] for at in decoded.worker_project] == [project for project, _ in workers]
    assert batch.num_options.tolist() == [3] * len(projects)
    names = decoded.task_names()
    assert list(zip(names.project_id.to_pylist(), names.task_id.to_pylist(), strict=True)) == tasks
    assert decoded.text("worker_id", decoded.worker_row).to_pylist() == [
        name for _, name in workers
    ]
    last = names.labels_at(names.first_option + 2, valid=np.ones(len(tasks), bool))
    assert last.to_pylist() == ["x2"] * len(tasks)


def test_project_without_options_is_refused() -> None:
    rows = rows_of({("p", "t", "w"): 0, ("q", "t", "w"): 1}, np.random.default_rng(0))
    keep = [
        value is None or project == "p"
        for project, value in zip(
            rows["project_id"].to_pylist(), rows["label"].to_pylist(), strict=True
        )
    ]
    with pytest.raises(ScoringError, match=r"batch 7: expected options .* 2, got those of 1;"):
        DecodedBatch(rows.filter(pa.array(keep)))


@settings(max_examples=100)
@given(ANSWERS, st.integers(0, 1000))
def test_halves_divide_a_batch_between_its_components(
    answers: dict[tuple[str, str, str], int], seed: int
) -> None:
    rows = rows_of(answers, np.random.default_rng(seed))
    place = rows.schema.get_field_index("component_id")
    rows = rows.set_column(place, "component_id", rows.column("task_id"))  # one per task
    sizes = Counter(key[:2] for key in answers)
    parts = halves(rows)
    if len(sizes) == 1:
        assert parts == [rows]
        return
    found = [keys_of(part) for part in parts]
    assert sorted(found[0] + found[1]) == sorted(answers)
    assert not {key[:2] for key in found[0]} & {key[:2] for key in found[1]}
    assert abs(len(found[0]) - len(found[1])) <= max(sizes.values())
    assert found == [keys_of(part) for part in halves(rows_of_same(rows, seed))]
    for part in parts:
        DecodedBatch(part)  # raises where it lacks options, or has those of other projects


def rows_of_same(rows: pa.Table, seed: int) -> pa.Table:
    """The rows in another order."""
    return rows.take(np.random.default_rng(seed + 1).permutation(len(rows)))


def keys_of(rows: pa.Table) -> list[tuple[str, str, str]]:
    columns = (rows.column(name).to_pylist() for name in ("project_id", "task_id", "worker_id"))
    keys = zip(*columns, strict=True)
    return sorted(key for key in keys if key[1] is not None)
