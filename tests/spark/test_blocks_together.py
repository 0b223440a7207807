"""What one task of a barrier stage does with its parts, without Spark and without other tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from crowdfm_core.blocks.messages import Cut
from crowdfm_core.blocks.program import supersteps
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.scoring import Scorer
from crowdfm_core.weights import load_weights
from tests.core.block_batches import batch_of, rows_of
from udfs.blocks import CutComponent, FrozenModel, Nodes
from udfs.blocks_together import Parts

SIZES = (600, 90, 20, 3)  # annotations, tasks, workers, options


@pytest.mark.parametrize("name", ["default", "attention"])
def test_rows_in_any_order_and_a_block_without_tasks_give_the_scores_of_the_whole(
    name: str,
) -> None:
    """Of three blocks the last has its project's options alone; shards write to it all the same."""
    weights = load_weights(name)
    batch = batch_of(*SIZES)
    rows = rows_of(batch, block=batch.task_index % 2, blocks=3)
    rows = rows.take(np.random.default_rng(0).permutation(len(rows)))
    component = CutComponent("large", "c", Cut(3, 2, ComponentSizes(*SIZES)), 0, 3)
    model = FrozenModel(name, weights.sha256, num_draws=1, max_probabilities=5)
    alone: Any = SimpleNamespace(number=0, count=1, finish=lambda _: [])

    parts = Parts(Nodes([component]), model, alone)
    parts.start(rows.to_batches(max_chunksize=100), max_bytes=2**30)
    for number, step in enumerate(supersteps(weights.config), start=1):
        parts.advance(step, number)
    found = pa.concat_tables(parts.finish())

    whole = Scorer(weights, num_draws=1).score(batch)
    of_tasks = found.filter(pc.is_valid(found["task_id"])).to_pylist()
    assert {row["task_id"]: row["label"] for row in of_tasks} == {
        f"t{task}": f"o{label}" for task, label in enumerate(whole.label_index)
    }
    for row in of_tasks:
        task = int(row["task_id"][1:])
        assert row["probability"] == pytest.approx(whole.probability[task], abs=1e-4)
    of_workers = found.filter(pc.is_null(found["task_id"])).to_pylist()
    assert len(of_workers) == SIZES[2]
    for row in of_workers:
        worker = int(row["worker_id"][1:])
        assert row["ability"] == pytest.approx(whole.ability[worker], abs=1e-3)
        assert row["num_annotations"] == whole.num_annotations[worker]
