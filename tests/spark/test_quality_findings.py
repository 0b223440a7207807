"""Findings about workers against who was drawn as what: spammers, copiers, honest people."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from crowdfm_core.methods.majority_vote import majority_vote
from crowdfm_core.simulation import RichCrowds, RichDraw, SimulatedCrowd
from crowdfm_core.simulation.spammers import WorkerKind
from crowdfm_core.simulation_checks.world_results import answers_of
from jobs.steps.annotations import arrange_by_task
from jobs.steps.quality import count_confusions, measure_workers
from tests.core.rich_crowds import draw, only, size

Flags = npt.NDArray[np.bool_]

SPAMMERS = ("random_spammers", "biased_spammers", "constant_spammers")
UNEVEN = {"worker_skill": {"spread": (0.6, 0.6)}, "strength": (0.5, 0.5)}


def crowd(tasks: int, options: int, **kinds: dict[str, Any]) -> RichCrowds:
    """40 workers of uneven skill, 8 answers a task; kinds that are not honest, by name."""
    return only(size(tasks, 40, options, 8), **UNEVEN, **kinds)


def struck(share: float, *kinds: str, **settings: Any) -> dict[str, dict[str, Any]]:
    return {kind: {"share": (share, share), **settings} for kind in kinds}


# Half a thousand tasks are 100 answers a worker.
CROWDS = {
    "spam, two options": crowd(500, 2, **struck(0.12, *SPAMMERS)),
    "spam, eight options": crowd(500, 8, **struck(0.12, *SPAMMERS)),
    "copies": crowd(700, 4, **struck(0.15, "copying_workers", fidelity=(0.9, 0.9))),
    "honest": crowd(500, 4),
}


def judged_answers(project: str, drawn: SimulatedCrowd) -> pd.DataFrame:
    """The answers of a crowd as quality_answers.sql has them, with labels by majority vote."""
    task, option = drawn.task_index, drawn.option_index
    votes = answers_of(drawn).votes()
    return pd.DataFrame(
        {
            "project_id": project,
            "task_id": task.astype(str),
            "worker_id": [f"{worker:02}" for worker in drawn.worker_index],
            "answer": option.astype(str),
            "label": majority_vote(answers_of(drawn)).label[task].astype(str),
            "num_task_annotations": votes.sum(axis=1)[task].astype(int),
            "num_same": votes[task, option].astype(int),
        }
    )


@pytest.fixture(scope="module")
def found(spark: SparkSession) -> dict[str, tuple[RichDraw, Any]]:
    """Every crowd, and its workers' findings in the order of their numbers: one pass for all."""
    drawn = {project: draw(generator, seed=3) for project, generator in CROWDS.items()}
    frame = pd.concat([judged_answers(project, one.crowd) for project, one in drawn.items()])
    answers = spark.createDataFrame(frame).withColumn("true_label", F.lit(None).cast("string"))
    answers = arrange_by_task(answers).persist()
    annotations = answers.withColumn("annotated_at", F.lit(None).cast("timestamp"))
    confusions = count_confusions(answers).persist()
    workers = measure_workers(annotations, answers, confusions, reference="majority_vote")
    table: Any = workers.toPandas().sort_values(["project_id", "worker_id"])
    answers.unpersist()
    confusions.unpersist()
    return {project: (one, table[table["project_id"] == project]) for project, one in drawn.items()}


def area_under_curve(score: npt.NDArray[np.float64], positive: Flags) -> float:
    """Probability that a positive one scores below another one, ties half."""
    below = score[positive][:, None] - score[~positive][None, :]
    return float((below < 0).mean() + (below == 0).mean() / 2)


def precision_and_recall(flag: Flags, positive: Flags) -> tuple[float, float]:
    hits = (flag & positive).sum()
    return hits / max(flag.sum(), 1), hits / positive.sum()


@pytest.mark.parametrize("project", ["spam, two options", "spam, eight options"])
def test_spammers_are_found(found: dict[str, tuple[RichDraw, Any]], project: str) -> None:
    drawn, workers = found[project]
    spams = drawn.causes.kind != WorkerKind.HONEST
    assert 8 <= spams.sum() <= 20
    assert area_under_curve(workers["spam_score"].to_numpy(), spams) > 0.95
    precision, recall = precision_and_recall(workers["is_spam_suspect"].to_numpy(bool), spams)
    assert precision > 0.75
    assert recall > 0.75


@pytest.mark.parametrize("project", ["spam, two options", "spam, eight options"])
def test_constant_answers_are_found(found: dict[str, tuple[RichDraw, Any]], project: str) -> None:
    drawn, workers = found[project]
    constant = drawn.causes.kind == WorkerKind.CONSTANT
    flag = workers["is_constant_suspect"].to_numpy(bool)
    assert constant.any()
    assert flag[constant].all()
    # Beside them only spammers whose own distribution has one answer in nearly all of its weight.
    assert (drawn.causes.kind[flag] != WorkerKind.HONEST).all()


def test_copiers_and_whom_they_copied_are_found(found: dict[str, tuple[RichDraw, Any]]) -> None:
    drawn, workers = found["copies"]
    copies = (drawn.causes.kind == WorkerKind.COPYING) & (drawn.causes.leader >= 0)
    flag = workers["is_copy_suspect"].to_numpy(bool)
    # With fewer shared errors there is nothing to see.
    visible = copies & (workers["num_shared_errors"].to_numpy() >= 5)
    involved = copies.copy()
    involved[drawn.causes.leader[copies]] = True
    assert visible.sum() >= 3
    assert flag[visible].mean() > 0.75
    assert involved[flag].mean() > 0.8
    leader = [f"{w:02}" for w in drawn.causes.leader[flag & copies]]
    assert list(workers["most_alike_worker_id"][flag & copies]) == leader


def test_honest_workers_are_left_alone(found: dict[str, tuple[RichDraw, Any]]) -> None:
    workers = found["honest"][1]
    assert not workers["is_constant_suspect"].any()
    assert workers["is_copy_suspect"].sum() <= 1
    assert workers["is_spam_suspect"].sum() <= 2
