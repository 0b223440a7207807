"""Batches that need more memory than they may take are scored in parts, with the same result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.memory import bytes_of_sizes
from crowdfm_core.weights import load_weights
from udfs import score_batches as module
from udfs.batch_tables import INPUT_COLUMNS, halves

TASKS, WORKERS, OPTIONS = 30, 8, 3
ONE = ComponentSizes(TASKS * 4, TASKS, WORKERS, OPTIONS)


def batch_of(projects: int) -> pa.Table:
    """Projects of one component each, all of the sizes ONE, in one batch."""
    rng = np.random.default_rng(1)
    rows: list[Any] = []
    for project in range(projects):
        name, component = f"p{project}", f"c{project}"
        for task in range(TASKS):
            for worker in rng.choice(WORKERS, 4, replace=False):
                option = int(rng.integers(0, OPTIONS))
                rows.append((0, name, component, f"t{task}", f"w{worker}", option, None))
        rows += [(0, name, None, None, None, at, f"x{at}") for at in range(OPTIONS)]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(INPUT_COLUMNS)}
    numbers = ("batch_index", "option_index")
    return pa.table(
        {
            name: pa.array(values, pa.int32() if name in numbers else pa.string())
            for name, values in columns.items()
        }
    )


def scored(
    rows: pa.Table, max_bytes: int, rule: AssignmentRule | None = None
) -> list[dict[str, Any]]:
    weights = load_weights("default")
    score = module.score_batches(
        weights="default",
        weights_sha256=weights.sha256,
        device="cpu",
        num_draws=1,
        max_probabilities=5,
        max_bytes=max_bytes,
        assignments=rule,
    )
    found = pa.Table.from_batches(score(rows.to_batches(max_chunksize=50))).to_pylist()
    return sorted(found, key=lambda row: (row["project_id"], row["task_id"] or "", str(row)))


def test_a_batch_of_several_components_is_divided_until_they_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    divided = []

    def counted(rows: pa.Table) -> list[pa.Table]:
        divided.append(len(rows))
        return halves(rows)

    monkeypatch.setattr(module, "halves", counted)
    rows = batch_of(5)
    expected = scored(rows, 2**30)
    assert not divided
    found = scored(rows, bytes_of_sizes(load_weights("default").config, ONE))
    assert len(divided) == 4  # five components, one by one
    assert len(found) == len(expected) == 5 * (TASKS + WORKERS)
    for one, other in zip(found, expected, strict=True):
        assert {key: one[key] for key in ("task_id", "worker_id", "label")} == {
            key: other[key] for key in ("task_id", "worker_id", "label")
        }
        for key in ("probability", "difficulty", "ability", "expected_accuracy"):
            assert one[key] == pytest.approx(other[key], abs=1e-4)


def test_a_component_alone_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MemoryBudgetError, match=r"project 'p0': .* raise scoring.max_model_gib"):
        scored(batch_of(2), 1000)


def test_tasks_are_assigned_to_workers_of_their_component_by_name() -> None:
    """All tasks, to all who have not answered them; nothing is said where nothing was asked for."""
    rows, rule = batch_of(3), AssignmentRule(workers_per_task=20, max_probability=1.0)
    assert {row["assigned"] for row in scored(rows, 2**30) if row["task_id"]} == {None}
    component_of: dict[tuple[str, str], str] = {}
    answered: dict[tuple[str, str], set[str]] = {}
    for row in rows.to_pylist():
        if row["task_id"] is not None:
            component_of[row["project_id"], row["worker_id"]] = row["component_id"]
            answered.setdefault((row["project_id"], row["task_id"]), set()).add(row["worker_id"])
    found = scored(rows, 2**30, rule)
    assert sum(len(row["assigned"]) for row in found if row["task_id"]) > 100
    for row in found:
        if row["task_id"] is None:
            assert row["assigned"] is None
            continue
        project, own = row["project_id"], row["component_id"]
        free = {w for (p, w), c in component_of.items() if (p, c) == (project, own)}
        free -= answered[project, row["task_id"]]
        assert {one["worker_id"] for one in row["assigned"]} == free
        values = [one["compatibility"] for one in row["assigned"]]
        assert values == sorted(values, reverse=True)
