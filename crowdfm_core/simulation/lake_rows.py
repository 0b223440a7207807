"""Draws the rows of a lake's pieces, as text, in Arrow: what a job finds in the morning.

Letters: E annotations, R rows, T tasks of a piece, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crowdfm_core.simulation.assignment import assign_sparsely
from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.lake import Lake, LakePiece
from crowdfm_core.simulation.lake_answers import PRESETS, Population

__all__ = ["ANNOTATION_COLUMNS", "GOLD_COLUMNS", "annotation_rows", "gold_rows"]

ANNOTATION_COLUMNS = ("project", "task", "worker", "label", "answered_at")
GOLD_COLUMNS = ("project", "task", "true_label")

_FIRST_ANSWER = np.datetime64("2025-01-06T07:00:00", "s").astype(np.int64)
_SECONDS_OF_HISTORY = 300 * 86_400
_LOAD_TAIL = 1.2  # exponent of the Pareto law of the workers' loads

# Streams of a crowd's seed; those of a piece carry its number, too.
_WORKERS, _PRIOR, _TRUTH, _ANSWERS, _ROWS, _GOLD = range(10, 16)

# What is wrong with a bad row.
_SOUND, _NO_WORKER, _BLANK_TASK, _NO_LABEL, _EMPTY_LABEL, _BAD_TIME = range(6)


@dataclass(frozen=True)
class _Rows:
    """Rows of a piece as indices; damage says what is wrong with each. All arrays [R]."""

    task: IntArray
    worker: IntArray
    option: IntArray
    seconds: npt.NDArray[np.int64]
    damage: npt.NDArray[np.integer[Any]]

    def take(self, place: npt.NDArray[Any]) -> _Rows:
        return _Rows(
            self.task[place],
            self.worker[place],
            self.option[place],
            self.seconds[place],
            self.damage[place],
        )

    def and_also(self, *others: _Rows) -> _Rows:
        parts = [self, *others]
        return _Rows(
            np.concatenate([part.task for part in parts]),
            np.concatenate([part.worker for part in parts]),
            np.concatenate([part.option for part in parts]),
            np.concatenate([part.seconds for part in parts]),
            np.concatenate([part.damage for part in parts]),
        )


def annotation_rows(lake: Lake, piece: LakePiece) -> pa.RecordBatch:
    """Return the rows of a piece in random order: annotations, repeated ones, bad ones.

    ANNOTATION_COLUMNS, all text; answered_at is ISO 8601 in UTC. A repeated answer is given by
    the same worker up to a day later, half of them with another label. A bad row is a copy of a
    good one that lacks worker or label, has a blank task or label, or no readable time.
    """
    plan, options = piece.plan, len(piece.plan.options)
    rng = lake.stream(plan.number, _ANSWERS, piece.number)
    propensity, population = _workers(lake.seed, plan.number, plan.workers, options, plan.preset)
    task, worker = assign_sparsely(rng, _answers_per_task(rng, piece), propensity)
    answer = population.answers(rng, _truth(lake, piece), task, worker)

    rng = lake.stream(plan.number, _ROWS, piece.number)
    seconds = _FIRST_ANSWER + rng.integers(0, _SECONDS_OF_HISTORY, len(task))
    answers = _Rows(task, worker, answer, seconds, np.zeros(len(task), np.int8))
    again = answers.take(rng.integers(0, len(task), rng.binomial(len(task), lake.repeated_rows)))
    again = _given_again(rng, again, options)
    bad = answers.take(rng.integers(0, len(task), rng.binomial(len(task), lake.bad_rows)))
    bad.damage[:] = rng.integers(_NO_WORKER, _BAD_TIME, len(bad.task), endpoint=True)
    rows = answers.and_also(again, bad)
    return _as_text(piece, rows.take(rng.permutation(len(rows.task))))


def gold_rows(lake: Lake, piece: LakePiece) -> pa.RecordBatch:
    """Return GOLD_COLUMNS of the piece's tasks whose truth is known."""
    known = lake.stream(piece.plan.number, _GOLD, piece.number).random(piece.tasks) < lake.gold
    labels = pa.array(piece.plan.options).take(pa.array(_truth(lake, piece)[known]))
    tasks = pa.array(_task_ids(piece), pa.string()).filter(pa.array(known))
    columns = [pa.repeat(piece.plan.project, len(tasks)), tasks, labels]
    return pa.RecordBatch.from_arrays(columns, names=list(GOLD_COLUMNS))


@lru_cache(maxsize=4)  # the pieces of a large crowd share its workers
def _workers(
    seed: int, number: int, workers: int, options: int, preset: str
) -> tuple[FloatArray, Population]:
    """How often each worker of a crowd answers, [W], and how."""
    rng = np.random.default_rng([seed, number, _WORKERS])
    propensity = 1.0 + rng.pareto(_LOAD_TAIL, workers)
    return propensity, PRESETS[preset].draw(rng, workers, options)


def _truth(lake: Lake, piece: LakePiece) -> IntArray:
    """The true option of every task of a piece, [T]; classes of a crowd are unequal."""
    plan = piece.plan
    prior = lake.stream(plan.number, _PRIOR).dirichlet(np.full(len(plan.options), 5.0))
    rng = lake.stream(plan.number, _TRUTH, piece.number)
    return rng.choice(len(prior), piece.tasks, p=prior).astype(np.int32)


def _answers_per_task(rng: np.random.Generator, piece: LakePiece) -> IntArray:
    """Numbers of answers, each from 1 to the workers, that sum to the piece's annotations, [T]."""
    tasks, annotations, most = piece.tasks, piece.annotations, piece.plan.workers
    if PRESETS[piece.plan.preset].even_votes:
        few, extra = divmod(annotations, tasks)
        number = np.full(tasks, few, np.int32)
        number[rng.permutation(tasks)[:extra]] += 1
        return number
    weight = rng.random(tasks)
    number = 1 + rng.multinomial(annotations - tasks, weight / weight.sum()).astype(np.int32)
    number = np.minimum(number, np.int32(most))
    while missing := annotations - int(number.sum()):  # what exceeded the workers
        number[rng.permutation(np.flatnonzero(number < most))[:missing]] += 1
    return number


def _given_again(rng: np.random.Generator, rows: _Rows, options: int) -> _Rows:
    changed = rng.random(len(rows.task)) < 0.5
    shift = np.where(changed, rng.integers(1, options, len(rows.task), dtype=np.int32), 0)
    later = rng.integers(30, 86_400, len(rows.task))
    option = ((rows.option + shift) % options).astype(np.int32)
    return _Rows(rows.task, rows.worker, option, rows.seconds + later, rows.damage)


def _as_text(piece: LakePiece, rows: _Rows) -> pa.RecordBatch:
    plan, damage = piece.plan, rows.damage
    tasks = pa.array([*_task_ids(piece), "   "], pa.string())
    workers = pa.array([f"w{plan.team}{number:05d}" for number in range(plan.workers)], pa.string())
    labels = pa.array([*plan.options, ""], pa.string())
    task = np.where(damage == _BLANK_TASK, len(tasks) - 1, rows.task)
    label = np.where(damage == _EMPTY_LABEL, len(labels) - 1, rows.option)
    columns = [
        pa.repeat(plan.project, len(task)),
        tasks.take(pa.array(task)),
        workers.take(pa.array(rows.worker, mask=damage == _NO_WORKER)),
        labels.take(pa.array(label, mask=damage == _NO_LABEL)),
        _times(rows.seconds, damage == _BAD_TIME),
    ]
    return pa.RecordBatch.from_arrays(columns, names=list(ANNOTATION_COLUMNS))


def _task_ids(piece: LakePiece) -> list[str]:
    plan = piece.plan
    place = f"{plan.project}-{plan.team}" if plan.team else plan.project
    numbers = range(piece.first_task, piece.first_task + piece.tasks)
    return [f"{place}-{number:05d}" for number in numbers]


def _times(seconds: npt.NDArray[np.int64], unreadable: npt.NDArray[np.bool_]) -> pa.Array:
    # Without a zone, whose rules Arrow would look up for every row: "2025-01-06 07:00:00".
    instants = pa.array(seconds).cast(pa.timestamp("s")).cast(pa.string())
    text = pc.binary_join_element_wise(pc.binary_replace_slice(instants, 10, 11, "T"), "Z", "")
    return pc.if_else(pa.array(unreadable), "yesterday, after lunch", text)
