"""Drawn crowds, and the same crowds as frames for Crowd-Kit, for the tests of the methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from crowdfm_core.methods.answers import Answers, Floats, Gold, MethodResult
from crowdfm_core.simulation import DawidSkeneCrowds, GladCrowds, OneCoinCrowds, Shape
from crowdfm_core.simulation.crowd import SimulatedCrowd

WORLDS = {
    "dawid_skene": DawidSkeneCrowds,
    "one_coin": OneCoinCrowds,
    "glad": GladCrowds,
}

# (task, worker, option): two reliable workers, one who answers at random, one who inverts.
TINY = Answers(
    task_index=np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4], np.int32),
    worker_index=np.array([0, 1, 2, 0, 1, 3, 0, 2, 3, 1, 2, 0, 1, 3], np.int32),
    option_index=np.array([0, 0, 1, 1, 1, 0, 2, 0, 1, 2, 2, 0, 1, 0], np.int32),
    num_tasks=5,
    num_workers=4,
    num_options=3,
)


def _project(rows: list[tuple[int, int, int]], tasks: int, workers: int, options: int) -> Answers:
    task, worker, option = np.array(rows, np.int32).reshape(-1, 3).T
    return Answers(task.copy(), worker.copy(), option.copy(), tasks, workers, options)


# (task, worker, option) rows that leave a method little to go by.
DEGENERATE = {
    "one worker": _project([(0, 0, 0), (1, 0, 1), (2, 0, 1)], 3, 1, 2),
    "one option": _project([(0, 0, 0), (0, 1, 0), (1, 0, 0)], 2, 2, 1),
    "one task": _project([(0, 0, 0), (0, 1, 1), (0, 2, 1)], 1, 3, 2),
    "two options in a tie": _project([(t, w, w) for t in range(3) for w in range(2)], 3, 2, 2),
    "three options in a tie": _project([(t, w, w) for t in range(3) for w in range(3)], 3, 3, 3),
    "no shared task": _project([(0, 0, 0), (1, 1, 1), (2, 2, 0)], 3, 3, 2),
    "no annotation": _project([], 3, 2, 2),
}


def drawn(
    world: str, *, options: int = 3, tasks: int = 300, answers: int = 6, seed: int = 5
) -> SimulatedCrowd:
    """A crowd of 25 workers; answers: per task."""
    shape = Shape.exact(tasks=tasks, workers=25, options=options, answers_per_task=answers)
    crowd: SimulatedCrowd = WORLDS[world](shape=shape, strength=(0.4, 0.4)).sample(
        np.random.default_rng(seed)
    )
    return crowd


def rows_of(answers: Answers) -> list[tuple[int, int, int]]:
    """(task, worker, option) of every annotation, in order."""
    ordered = answers.in_order()
    columns = (ordered.task_index, ordered.worker_index, ordered.option_index)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def frame_of(answers: Answers) -> pd.DataFrame:
    """The columns that Crowd-Kit expects."""
    return pd.DataFrame(
        {
            "task": answers.task_index,
            "worker": answers.worker_index,
            "label": answers.option_index,
        }
    )


def probabilities_of(result: MethodResult) -> Floats:
    assert result.probabilities is not None
    return result.probabilities


def agreement(result: MethodResult, other: pd.Series[Any] | None) -> float:
    """Share of tasks with the same label, where the first option stands out by 1e-6."""
    assert other is not None
    same = result.label == other.sort_index().to_numpy()
    return float(same[clear(probabilities_of(result))].mean())


def clear(values: Floats) -> np.ndarray:
    """Rows of probabilities or votes whose first two differ by 1e-6, so that there is no tie."""
    return np.asarray(np.ptp(np.sort(values, axis=1)[:, -2:], axis=1) > 1e-6)


@st.composite
def wild_answers(draw: st.DrawFn) -> Answers:
    """Any small project: gaps, repeated rows, one option, no annotation at all."""
    tasks, workers = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    options, rows = draw(st.integers(1, 4)), draw(st.integers(0, 25))

    def index(bound: int) -> np.ndarray:
        values = draw(st.lists(st.integers(0, bound - 1), min_size=rows, max_size=rows))
        return np.array(values, np.int32)

    return Answers(index(tasks), index(workers), index(options), tasks, workers, options)


@st.composite
def wild_projects(draw: st.DrawFn) -> tuple[Answers, Gold]:
    """Any small project, without gold or with a gold option or none for each of its tasks."""
    answers = draw(wild_answers())
    one = st.integers(-1, answers.num_options - 1)
    all_tasks = st.lists(one, min_size=answers.num_tasks, max_size=answers.num_tasks)
    gold = draw(st.none() | all_tasks)
    return answers, None if gold is None else np.array(gold, np.int64)
