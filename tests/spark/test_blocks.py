"""Components cut into blocks: chosen by size, and scored as if they were whole."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from chispa import assert_df_equality
from pyspark import RDD
from pyspark.sql import DataFrame, SparkSession

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.blocks.program import supersteps
from crowdfm_core.config import InputConfig, JobConfig, ModelConfig, OutputConfig, ScoringConfig
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.weights import load_weights
from jobs.spark_errors import SPARK_ERRORS, reason_of
from jobs.steps import blocks_in_turn, blocks_together
from jobs.steps.blocks import BlockPlan, plan_blocks, score_in_blocks
from jobs.steps.components import add_components, find_components
from jobs.steps.crowdfm import Aggregated, aggregate_with_crowdfm
from jobs.steps.exchange import Exchange
from jobs.steps.gold import GOLD_SCHEMA
from jobs.steps.options import index_options
from jobs.steps.progress import Say
from jobs.steps.shuffles import remove_shuffle, shuffle_id
from tests.spark.answers import assignments, sizes_of
from tests.spark.disk import shuffle_files, shuffles_in
from tests.spark.shallow_weights import save_shallow_weights
from udfs.blocks import FrozenModel
from udfs.peers import UnreachablePeerError

CONFIG = JobConfig(input=InputConfig(path="unused"), output=OutputConfig(path="unused"))
WEIGHTS = load_weights()
# Project -> tasks, workers, options; "split" falls into two components, one of which is cut.
PROJECTS = {"large": (300, 40, 4), "split": (160, 20, 3), "many": (120, 30, 60), "tiny": (2, 2, 2)}


@pytest.fixture(scope="module")
def placed(spark: SparkSession) -> DataFrame:
    """Random answers with component_id; every (task, worker) once."""
    rng = np.random.default_rng(5)
    rows = []
    for project, task, worker, options in assignments(PROJECTS, rng, every=4):
        right = rng.random() < 0.5 + worker / 100
        option = task % options if right else rng.integers(0, options)
        rows.append((project, f"t'{task}\u00e9", f"w{worker}", f"o{option:02}"))
    frame = pd.DataFrame(rows, columns=["project_id", "task_id", "worker_id", "label"])
    annotations = spark.createDataFrame(frame)
    return add_components(annotations, find_components(annotations)).persist()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> JobConfig:
    """The default model with two layers of its eight, as Spark has two stages for each; the core's
    tests run deeper ones in blocks."""
    folder = tmp_path_factory.mktemp("weights")
    save_shallow_weights(folder)
    return replace(CONFIG, model=ModelConfig(str(folder)))


def aggregated(placed: DataFrame, components: DataFrame, config: JobConfig) -> Aggregated:
    options = index_options(placed)
    weights = load_weights(config.model.weights)
    no_gold = placed.sparkSession.createDataFrame([], GOLD_SCHEMA)
    return aggregate_with_crowdfm(
        placed, components, options, no_gold, config, weights.sha256, None, say=lambda _: None
    )


def score(placed: DataFrame, config: JobConfig, scoring: ScoringConfig) -> tuple[Any, Any]:
    """Tables of tasks and workers as pandas frames, whose stubs refuse a mixed index."""
    components = sizes_of(placed)
    found = aggregated(placed, components, replace(config, scoring=scoring))
    labels = found.labels.toPandas().set_index(["project_id", "task_id"]).sort_index()
    workers = found.workers.toPandas().set_index(["project_id", "worker_id"]).sort_index()
    for frame in found.persisted:
        frame.unpersist()
    return labels, workers


def test_components_are_cut_by_their_sizes(placed: DataFrame) -> None:
    """Of 1200, 480, 480, 160 and 4 annotations, those above 400: into blocks of at most 400."""
    scoring = ScoringConfig(max_annotations_per_block=400)
    sizes, options = sizes_of(placed).persist(), index_options(placed).persist()
    plan = plan_blocks(sizes, options, WEIGHTS.config, scoring)
    assert plan is not None
    cuts = [(of.project_id, of.cut.blocks, of.cut.sizes.options) for of in plan.components]
    assert cuts == [("large", 3, 4), ("many", 2, 60), ("split", 2, 3)]
    assert [(of.first_block, of.first_shard) for of in plan.components] == [(0, 7), (3, 8), (5, 9)]
    keys = {(of.project_id, of.component_id) for of in plan.components}
    in_split = {
        row["num_annotations"]: (row["project_id"], row["component_id"]) in keys
        for row in sizes.where("project_id = 'split'").collect()
    }
    assert in_split == {480: True, 160: False}
    for nothing in (ScoringConfig(), ScoringConfig(max_annotations_per_block=None)):
        assert plan_blocks(sizes, options, WEIGHTS.config, nothing) is None


def in_blocks_of_400(exchange: Literal["auto", "direct", "shuffle"]) -> ScoringConfig:
    return ScoringConfig(max_annotations_per_block=400, block_exchange=exchange)


def test_blocks_give_the_tables_of_whole_components(placed: DataFrame, config: JobConfig) -> None:
    """Three components in blocks, two in batches, of which "split" has one each: both ways meet in
    the same tables, and in the same project. How blocks exchange messages leaves no trace."""
    labels, workers = score(placed, config, ScoringConfig(max_annotations_per_block=None))
    in_blocks, of_workers = score(placed, config, in_blocks_of_400("shuffle"))
    for direct, shuffled in zip(
        score(placed, config, in_blocks_of_400("direct")), (in_blocks, of_workers), strict=True
    ):
        pd.testing.assert_frame_equal(direct, shuffled, check_exact=True)
    numbers = ["probability", "margin", "entropy", "difficulty", "agreement"]
    same = [name for name in labels.columns if name not in [*numbers, "probabilities"]]
    pd.testing.assert_frame_equal(in_blocks[same], labels[same])
    np.testing.assert_allclose(in_blocks[numbers], labels[numbers], atol=3e-4)
    for found, expected in zip(in_blocks["probabilities"], labels["probabilities"], strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    numbers = ["ability", "expected_accuracy", "agreement_with_aggregate", "num_annotations"]
    assert list(of_workers.index) == list(workers.index)
    np.testing.assert_allclose(of_workers[numbers], workers[numbers], atol=3e-4)


def test_blocks_assign_tasks_as_whole_components_do(placed: DataFrame, config: JobConfig) -> None:
    """To workers of all shards; those who suit a task all but equally may change places."""
    rule = AssignmentRule(workers_per_task=3, max_probability=0.9)
    whole, in_blocks = (
        aggregated(placed, sizes_of(placed), replace(config, scoring=scoring, assignments=rule))
        for scoring in (
            ScoringConfig(max_annotations_per_block=None),
            in_blocks_of_400("auto"),
        )
    )
    found, expected = ranked(in_blocks), ranked(whole)
    assert len(expected) > 100
    assert abs(len(found) - len(expected)) <= 3  # of tasks at the limit
    both = found.join(expected, lsuffix="_found", how="inner")
    np.testing.assert_allclose(both["compatibility_found"], both["compatibility"], atol=3e-4)
    assert (both["worker_id_found"] == both["worker_id"]).mean() > 0.99
    answers = placed.select("project_id", "task_id", "worker_id").toPandas()
    again = found.reset_index().merge(answers, on=["project_id", "task_id", "worker_id"])
    assert again.empty  # nobody is asked twice


def ranked(found: Aggregated) -> Any:
    assert found.assignments is not None
    rows = found.assignments.toPandas()
    for frame in found.persisted:
        frame.unpersist()
    return rows.set_index(["project_id", "task_id", "rank"]).sort_index()


def test_the_number_of_partitions_leaves_no_trace(placed: DataFrame) -> None:
    """Of the paper's architecture, whose blocks do not take part in the last supersteps. Nor does
    the way that messages take."""
    many = placed.where("project_id = 'many'")
    model = ModelConfig("attention", num_draws=1)
    ways: list[tuple[int, Literal["direct", "shuffle"]]] = [(1, "direct"), (5, "shuffle")]
    first, second = (
        aggregated(
            many.repartition(partitions),
            sizes_of(many),
            replace(CONFIG, scoring=in_blocks_of_400(exchange), model=model),
        ).labels
        for partitions, exchange in ways
    )
    # Rows with a map cannot be ordered.
    first, second = (labels.drop("probabilities") for labels in (first, second))
    assert_df_equality(first, second, ignore_row_order=True)


STEPS = [f"superstep {number} of 7" for number in range(1, 8)]


def test_what_was_read_is_removed_from_the_disk(
    spark: SparkSession,
    placed: DataFrame,
    config: JobConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In local mode. Over shuffles, each superstep writes the states of all blocks or shards. What
    Spark SQL shuffled is there before the first is removed; how much that is changes."""
    removed: set[str] = set()
    at_first: set[str] = set()

    def remove(shuffled: RDD[Any]) -> None:
        if not removed:
            at_first.update(shuffles_in(shuffle_files(spark)))
        removed.add(str(shuffle_id(shuffled)))
        assert removed & shuffles_in(shuffle_files(spark))
        remove_shuffle(shuffled)

    monkeypatch.setattr(blocks_in_turn, "remove_shuffle", remove)
    lines: list[str] = []
    scores = score_planned(*planned(placed), config, members=None, say=lines.append)
    assert lines == ["3 blocks of tasks, 1 shards of workers", *STEPS]
    left = shuffles_in(shuffle_files(spark)) - at_first
    assert len(left) == 2  # of 8: what blocks and shards read in the end
    assert scores.count() == 300 + 40
    assert len(removed) == 6
    assert not removed & shuffles_in(shuffle_files(spark))
    scores.unpersist()


@pytest.mark.parametrize("falls_back", [True, False], ids=["auto", "direct"])
def test_where_tasks_lose_each_other_shuffles_are_taken_unless_direct_was_asked_for(
    placed: DataFrame, config: JobConfig, monkeypatch: pytest.MonkeyPatch, falls_back: bool
) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        def score(batches: Any) -> Any:
            raise UnreachablePeerError(f"a task has {len(list(batches)) // 10**9} batches")

        return score

    monkeypatch.setattr(blocks_together, "score_together", unreachable)
    lines: list[str] = []
    how: dict[str, Any] = {"members": 2, "falls_back": falls_back}
    if not falls_back:
        with pytest.raises(SPARK_ERRORS, match=r"UnreachablePeerError: a task has 0 batches"):
            score_planned(*planned(placed), config, **how, say=lines.append)
        return
    scores = score_planned(*planned(placed), config, **how, say=lines.append)
    assert lines[1].startswith("all 7 supersteps in 2 tasks")
    assert re.match(r"from the start, over shuffles, .* a task has 0 batches", lines[2])
    assert lines[3:] == STEPS
    assert scores.count() == 300 + 40
    scores.unpersist()


def planned(placed: DataFrame) -> tuple[DataFrame, DataFrame, BlockPlan]:
    """The answers of project "large", all options, and how the project is cut."""
    large, options = placed.where("project_id = 'large'"), index_options(placed)
    plan = plan_blocks(sizes_of(large), options, WEIGHTS.config, in_blocks_of_400("auto"))
    assert plan is not None
    return large, options, plan


def score_planned(
    large: DataFrame,
    options: DataFrame,
    plan: BlockPlan,
    config: JobConfig,
    *,
    max_bytes: int = 2**30,
    say: Say = lambda _: None,
    **how: Any,
) -> DataFrame:
    weights = load_weights(config.model.weights)
    (scores,) = score_in_blocks(
        large,
        options,
        FrozenModel(config.model.weights, weights.sha256, num_draws=1, max_probabilities=5),
        steps=supersteps(weights.config),
        exchanges=[Exchange(plan.components, **how)],
        max_bytes=max_bytes,
        say=say,
    )
    return scores


def test_blocks_that_cannot_be_small_enough_fail_before_anything_is_scored(
    placed: DataFrame,
) -> None:
    large = placed.where("project_id = 'large'")
    scoring = ScoringConfig(max_annotations_per_block=1000, max_model_gib=1e-6)
    with pytest.raises(MemoryBudgetError, match=r"project 'large', component .*max_model_gib"):
        plan_blocks(sizes_of(large), index_options(large), WEIGHTS.config, scoring)


def test_a_block_that_is_larger_than_planned_names_the_settings(
    placed: DataFrame, config: JobConfig
) -> None:
    """As where one task has most of the annotations."""
    with pytest.raises(SPARK_ERRORS) as caught:
        score_planned(*planned(placed), config, max_bytes=1000).collect()
    assert re.search(r"project '.*max_annotations_per_block", reason_of(caught.value))
