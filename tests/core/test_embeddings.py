"""What heads see of workers and tasks: against loops over single annotations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.models.unrolled import UnrolledModel, UnrolledOutputs
from tests.core.test_unrolled import CONFIG, Rows, layout_of, random_rows, random_tensors

Floats = npt.NDArray[np.float64]

STATES = 2 * CONFIG.width
TASKS, WORKERS, OPTIONS = 7, 5, 3
SMOOTHING = np.exp(random_tensors(CONFIG)["smoothing.log"][-1])


@dataclass
class Case:
    """One component, its answers, and the model's posterior p [T, K]."""

    rows: Rows
    p: Floats
    outputs: UnrolledOutputs
    is_tied: bool

    def __post_init__(self) -> None:
        self.crowd = (sum(self.p[t, o] for t, _, o in self.rows) + 1) / (len(self.rows) + 2)
        self.votes = np.zeros((TASKS, OPTIONS))
        for t, _, o in self.rows:
            self.votes[t, o] += 1
        self.share = self.votes / self.votes.sum(1, keepdims=True)

    def answers_of(self, worker: int) -> list[tuple[int, int]]:
        return [(t, o) for t, w, o in self.rows if w == worker]

    def accuracy(self, worker: int) -> float:
        mine = self.answers_of(worker)
        return float((sum(self.p[t, o] for t, o in mine) + 4 * self.crowd) / (len(mine) + 4))

    def recall(self, worker: int, k: int) -> float:
        """Share of right answers on class k, shrunk towards the crowd's as in the last layer."""
        if self.is_tied:
            return self.accuracy(worker)
        total = sum(self.p[t, k] for t, _, _ in self.rows)
        right = sum(self.p[t, k] for t, _, o in self.rows if o == k)
        pooled = (right + SMOOTHING[2]) / (total + SMOOTHING[2] * OPTIONS)
        mine = self.answers_of(worker)
        total = sum(self.p[t, k] for t, _ in mine)
        right = sum(self.p[t, k] for t, o in mine if o == k)
        return float((right + SMOOTHING[0] * pooled) / (total + SMOOTHING[0]) + 1e-6)

    def has_answered(self, worker: int, k: int) -> bool:
        return any(o == k for _, o in self.answers_of(worker))


@pytest.fixture(scope="module", params=[False, True], ids=["dense", "tied"])
def case(request: pytest.FixtureRequest) -> Case:
    rows = random_rows(2, tasks=TASKS, workers=WORKERS, options=OPTIONS)
    layout = layout_of(rows, OPTIONS, tied=request.param)
    outputs = UnrolledModel(CONFIG, random_tensors(CONFIG), NumpyOps(np.float64)).run(layout)
    posterior = np.zeros((TASKS, OPTIONS))
    posterior[layout.candidate_task, layout.candidate_option] = np.exp(outputs.log_posterior[:, 0])
    return Case(rows, posterior, outputs, request.param)


def log_odds(share: float) -> float:
    return math.log((share + 1e-4) / (1 - share + 1e-4))


def test_scalars_of_workers_equal_loops(case: Case) -> None:
    p, share = case.p, case.share
    odds = [log_odds(case.accuracy(worker)) for worker in range(WORKERS)]
    frequency = sum(p[t] for t, _, _ in case.rows) / len(case.rows)
    for worker in range(WORKERS):
        mine = case.answers_of(worker)
        balanced = case.accuracy(worker)
        if not case.is_tied:
            answered = {o for _, o in mine}
            balanced = sum(case.recall(worker, k) * frequency[k] for k in answered)
        expected = [
            log_odds((sum(p[t, o] for t, o in mine) + 1) / (len(mine) + 2)),
            math.log1p(len(mine)),
            odds[worker],
            log_odds(case.crowd),
            math.log1p(OPTIONS),
            log_odds(balanced),
            log_odds(sum((p[t] ** 2).sum() for t, _ in mine) / len(mine)),
            log_odds(sum(share[t, o] for t, o in mine) / len(mine)),
            log_odds(sum((share[t] ** 2).sum() for t, _ in mine) / len(mine)),
            np.mean(odds),
            np.mean(np.square(odds)),
            *np.log1p([TASKS, WORKERS, len(case.rows)]),
        ]
        np.testing.assert_allclose(case.outputs.workers[worker, STATES:], expected, atol=1e-5)


def test_scalars_of_tasks_equal_loops(case: Case) -> None:
    p, count = case.p, case.votes.sum(1)
    found = case.outputs.tasks[:, STATES:]
    own = [case.accuracy(worker) for worker in range(WORKERS)]
    of_crowd = [
        (sum(p[t, k] for t, _, o in case.rows if o == k) + 0.5)
        / (sum(p[t, k] for t, _, _ in case.rows) + 1)
        for k in range(OPTIONS)
    ]
    squares = np.zeros((TASKS, 5))
    for task in range(TASKS):
        mine = [(w, o) for t, w, o in case.rows if t == task]
        means = np.zeros(7)
        for k in range(OPTIONS):
            for w, o in mine:
                on_class = case.recall(w, k) if case.is_tied or case.has_answered(w, k) else 0.0
                seen = np.array([own[w], on_class, log_odds(own[w])])
                means += p[task, k] / len(mine) * np.array([*seen, *(seen * (o == k)), o == k])
        right = means[6]
        shrunk = [
            log_odds(e) - log_odds((right * len(mine) + 2 * e) / (len(mine) + 2))
            for e in (means[0], means[1], case.crowd)
        ]
        surprise = right - means[0]
        entropy = -sum(x * max(math.log(x), -10.0) for x in p[task] if x > 0)
        expected = [
            entropy,
            (case.share[task] * p[task]).sum(),
            (case.share[task] ** 2).sum(),
            math.log1p(len(mine)),
            math.log1p(OPTIONS),
            *means[:6],
            surprise,
            right - means[1],
            surprise * math.sqrt(len(mine)),
            *shrunk,
            log_odds(sum(p[task, k] * of_crowd[k] for k in range(OPTIONS))),
            log_odds(case.crowd),
        ]
        np.testing.assert_allclose(found[task, :19], expected, atol=1e-5)
        variance = means[0] * (1 - means[0]) + 0.05
        overdispersion = surprise**2 * count[task] / variance
        squares[task] = entropy, right, surprise**2, overdispersion, shrunk[0] ** 2
    of_component = [*squares.mean(0), *np.log1p([TASKS, WORKERS])]
    np.testing.assert_allclose(found[:, 19:], np.tile(of_component, (TASKS, 1)), atol=1e-5)
