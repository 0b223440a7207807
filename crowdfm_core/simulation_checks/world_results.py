"""Frozen weights in the worlds of the classical models, beside the method that is right there.

No real label is needed: the truth is the simulator's. Letters: N crowds, T tasks, K options.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crowdfm_core.evaluation import scored_credit
from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.registry import METHODS, aggregate
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch
from crowdfm_core.simulation import SimulatedCrowd
from crowdfm_core.simulation_checks.classical_worlds import (
    ANSWERS_PER_TASK,
    OPTIONS,
    TASKS,
    WORKERS,
    WORLDS,
    World,
)

__all__ = [
    "Cell",
    "Difference",
    "Model",
    "answers_of",
    "json_records",
    "markdown",
    "measure",
]

FloatArray = npt.NDArray[np.float64]

_LARGEST_LAG = 0.5  # points behind the right method that are allowed; none behind voting
_TIE = 1e-9

_log = logging.getLogger(__name__)


class Model(Protocol):
    """Frozen weights that label a batch; `crowdfm_core.scoring.Scorer` is one."""

    def score(self, batch: AnnotationBatch) -> ScoredBatch:
        """Label every task of the batch."""


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences of accuracy over N crowds, in points, and its standard error
    (NaN for one crowd)."""

    mean: float
    error: float

    @classmethod
    def of(cls, first: FloatArray, second: FloatArray) -> Difference:
        """Subtract accuracies in [0, 1], both [N]."""
        points = 100.0 * (first - second)
        number = len(points)
        error = points.std(ddof=1) / np.sqrt(number) if number > 1 else float("nan")
        return cls(float(points.mean()), float(error))

    def mark(self, limit: float, letter: str) -> str:
        """The letter if the mean is below the limit, with a question mark where that may be
        chance (within two standard errors), else nothing."""
        if self.mean >= limit:
            return ""
        certain = self.mean + 2.0 * self.error < limit
        return letter if certain else f"{letter}?"


@dataclass(frozen=True)
class Cell:
    """N crowds of one world and size: accuracy per crowd of every method, in [0, 1]."""

    world: str
    options: int
    answers_per_task: int
    methods: Mapping[str, FloatArray]  # classical methods that are right here -> [N]
    majority_vote: FloatArray  # [N]
    models: Mapping[str, FloatArray]  # frozen weights -> [N]

    @property
    def right(self) -> str:
        """The method with the best mean among those that are right in this world."""
        return max(self.methods, key=lambda name: float(self.methods[name].mean()))

    def ahead_of_right(self, model: str) -> Difference:
        """How far a model is ahead of the right method; negative if it is behind."""
        return Difference.of(self.models[model], self.methods[self.right])

    def ahead_of_majority_vote(self, model: str) -> Difference:
        """How far a model is ahead of majority voting; negative if it is behind."""
        return Difference.of(self.models[model], self.majority_vote)

    def marks(self, model: str) -> list[str]:
        """R for more than 0.5 points behind the right method, V for behind majority voting."""
        marks = (
            self.ahead_of_right(model).mark(-_LARGEST_LAG, "R"),
            self.ahead_of_majority_vote(model).mark(0.0, "V"),
        )
        return [mark for mark in marks if mark]


def measure(
    models: Mapping[str, Model],
    *,
    worlds: Sequence[str] = tuple(WORLDS),
    options: Sequence[int] = OPTIONS,
    answers_per_task: Sequence[int] = ANSWERS_PER_TASK,
    crowds: int,
    seed: int,
) -> list[Cell]:
    """Draw `crowds` crowds of every world and size, the same for all methods and models, and
    measure accuracies with tied labels sharing a task's credit; equal seeds give equal cells."""
    cells = []
    for name, num_options, answers in product(worlds, options, answers_per_task):
        generator = WORLDS[name].crowds(num_options, answers)
        key = [seed, list(WORLDS).index(name), num_options, answers]
        drawn = [generator.sample(np.random.default_rng([*key, n])) for n in range(crowds)]
        cells.append(_cell(WORLDS[name], num_options, answers, drawn, models))
        _log.info("%s, %d options, %d answers a task", name, num_options, answers)
    return cells


def _cell(
    world: World,
    options: int,
    answers: int,
    drawn: Sequence[SimulatedCrowd],
    models: Mapping[str, Model],
) -> Cell:
    def accuracies(method: str) -> FloatArray:
        return np.array([_accuracy_of(aggregate(method, answers_of(c)), c) for c in drawn])

    return Cell(
        world=world.name,
        options=options,
        answers_per_task=answers,
        methods={name: accuracies(name) for name in world.right},
        majority_vote=accuracies("majority_vote"),
        models={
            name: np.array(
                [
                    scored_credit(model.score(_batch(c, f"crowd {n}")), c.true_option).mean()
                    for n, c in enumerate(drawn)
                ]
            )
            for name, model in models.items()
        },
    )


def answers_of(crowd: SimulatedCrowd) -> Answers:
    """The crowd as the classical methods take it, without its truth."""
    return Answers(
        task_index=crowd.task_index,
        worker_index=crowd.worker_index,
        option_index=crowd.option_index,
        num_tasks=crowd.num_tasks,
        num_workers=crowd.num_workers,
        num_options=crowd.num_options,
    )


def _batch(crowd: SimulatedCrowd, project: str) -> AnnotationBatch:
    return AnnotationBatch(
        task_index=crowd.task_index,
        worker_index=crowd.worker_index,
        option_index=crowd.option_index,
        task_project=np.zeros(crowd.num_tasks, np.int32),
        project_ids=[project],
        num_options=np.array([crowd.num_options], np.int32),
        num_workers=crowd.num_workers,
    )


def _accuracy_of(result: MethodResult, crowd: SimulatedCrowd) -> float:
    if result.probabilities is None:
        return float((result.label == crowd.true_option).mean())
    best = result.probabilities.max(axis=1, keepdims=True)
    tied = result.probabilities >= best - _TIE
    right = tied[np.arange(crowd.num_tasks), crowd.true_option]
    return float((right / tied.sum(axis=1)).mean())


def markdown(cells: Sequence[Cell]) -> str:
    """A table with a line per cell, accuracies in per cent, and a summary of every model."""
    models = list(cells[0].models)
    head = ["world", "options", "answers a task", "majority voting", "right method", "its accuracy"]
    lines = [[*head, *models], ["---", "--:", "--:", "--:", "---", "--:", *["--:"] * len(models)]]
    for cell in cells:
        lines.append(
            [
                cell.world,
                str(cell.options),
                str(cell.answers_per_task),
                _percent(cell.majority_vote),
                METHODS[cell.right].short_name,
                _percent(cell.methods[cell.right]),
                *(_entry(cell, model) for model in models),
            ]
        )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    number = len(cells[0].majority_vote)
    note = (
        f"{TASKS:,} tasks, {WORKERS} workers, mean of {number} crowds. In brackets: points ahead "
        f"of the right method, ± standard error of the paired difference. R: more than "
        f"{_LARGEST_LAG} points behind it; V: behind majority voting; ?: within two standard "
        "errors."
    )
    return "\n\n".join([table, note, "\n".join(_summary(cells, model) for model in models)])


def _entry(cell: Cell, model: str) -> str:
    ahead = cell.ahead_of_right(model)
    numbers = f"{_percent(cell.models[model])} ({ahead.mean:+.2f} ± {ahead.error:.2f})"
    return " ".join([numbers, *(f"**{mark}**" for mark in cell.marks(model))])


def _summary(cells: Sequence[Cell], model: str) -> str:
    marks = [mark for cell in cells for mark in cell.marks(model)]
    right, vote = (sum(mark.startswith(letter) for mark in marks) for letter in "RV")
    differences = [cell.ahead_of_right(model).mean for cell in cells]
    return (
        f"- {model}: {right} of {len(cells)} worlds R ({marks.count('R')} beyond two standard "
        f"errors), {vote} V ({marks.count('V')}); {np.mean(differences):+.2f} points on the mean "
        f"to the right method, {min(differences):+.2f} in the worst."
    )


def json_records(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One record per cell and method: world, options, answers_per_task, method, kind, accuracy in
    per cent, that of each crowd, and for frozen weights the paired differences in points."""
    records = []
    for cell in cells:
        kinds = {
            "baseline": {"majority_vote": cell.majority_vote},
            "right": cell.methods,
            "frozen": cell.models,
        }
        for kind, methods in kinds.items():
            for method, accuracy in methods.items():
                record = {
                    "world": cell.world,
                    "options": cell.options,
                    "answers_per_task": cell.answers_per_task,
                    "method": method,
                    "kind": kind,
                    "accuracy": 100.0 * float(accuracy.mean()),
                    "accuracy_of_crowd": (100.0 * accuracy).tolist(),
                }
                if kind == "frozen":
                    right, vote = cell.ahead_of_right(method), cell.ahead_of_majority_vote(method)
                    record |= {
                        "right_method": cell.right,
                        "points_to_right_method": right.mean,
                        "points_to_majority_vote": vote.mean,
                        "marks": cell.marks(method),
                    }
                    if len(accuracy) > 1:
                        record["error_to_right_method"] = right.error
                        record["error_to_majority_vote"] = vote.error
                records.append(record)
    return records


def _percent(accuracy: FloatArray) -> str:
    return f"{100.0 * accuracy.mean():.2f}"
