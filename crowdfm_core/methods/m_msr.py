"""M-MSR: skills of workers from how often pairs of them agree, robust against adversaries.

Letters: E annotations, T tasks, W workers, K options, P ordered pairs of workers who share a task.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import UndefinedMethodError
from crowdfm_core.methods.answers import Answers, Floats, IntArray, MethodResult, softmax
from crowdfm_core.methods.loops import stable_order

__all__ = ["m_msr", "num_pairs_at_most"]

_SMALLEST = 1e-9  # stands for 0 where values are divided by skills
_SIGN_STEPS = 200


def m_msr(
    answers: Answers, *, max_iterations: int = 1_000, tolerance: float = 1e-8
) -> MethodResult:
    """Ma and Olshevsky (2020): robust completion of the rank-one matrix of pairwise agreement.

    Q. Ma and A. Olshevsky, Adversarial Crowdsourcing Through Robust Rank-One Matrix Completion,
    NeurIPS 2020, M-MSR in the one-coin model: for workers who share tasks,
    C = K / (K - 1) agreement - 1 / (K - 1) estimates s s', where s[w] = (K accuracy - 1) / (K - 1).
    |C| is completed as u v' by alternating means of the ratios |C[i, j]| / u[i], without the F
    smallest ones below and the F largest above the present value, F = floor(smallest number of
    co-workers / 2) - 1, at least 0. Ends when u v' moves by less than `tolerance` in the Frobenius
    norm. Signs of s follow from those of C, with most workers better than chance, by power
    iteration; |s| is kept 1 / sqrt(T) away from its ends; probabilities are softmax of the votes
    weighted by log(accuracy (K - 1) / (1 - accuracy)). A worker who shares no task gets the mean
    s of the others. worker_score: the accuracy, in (0, 1).

    Raises UndefinedMethodError with one option, fewer than two tasks, or no pair of workers who
    share a task.
    """
    answers = answers.in_order()
    options, tasks = answers.num_options, int(np.count_nonzero(answers.answers_per_task()))
    if options < 2 or tasks < 2:
        reason = f"it needs two options and two tasks, got {options} and {tasks}"
        raise UndefinedMethodError("m_msr", reason)
    start, other, agreement = _pairs(answers)
    if not len(other):
        raise UndefinedMethodError("m_msr", "no two workers share a task")
    covariance = (options * agreement - 1.0) / (options - 1.0)
    linked = np.diff(start) > 0
    filtered = max(0, int(np.diff(start)[linked].min()) // 2 - 1)
    size, iterations, converged = _complete(
        start, other, np.abs(covariance), filtered, tasks, max_iterations, tolerance
    )
    skill = size * _signs(start, other, np.sign(covariance))
    margin = 1.0 / np.sqrt(tasks)
    skill = np.clip(skill, -1.0 / (options - 1.0) + margin, 1.0 - margin)
    skill[~linked] = skill[linked].mean()
    accuracy = (skill * (options - 1.0) + 1.0) / options
    weight = np.log(accuracy * (options - 1.0) / (1.0 - accuracy))
    return MethodResult.of(
        answers,
        softmax(answers.votes(weight[answers.worker_index])),
        accuracy,
        iterations=iterations,
        converged=converged,
    )


def num_pairs_at_most(answers: Answers) -> int:
    """An upper bound of P, from the numbers of workers and of annotations per task."""
    return min(answers.num_workers**2, int((answers.answers_per_task() ** 2).sum()))


def _pairs(answers: Answers) -> tuple[npt.NDArray[np.int64], IntArray, Floats]:
    """First pair of each worker [W+1], the other worker [P], and the share of the tasks they
    share on which both say the same [P]; pairs are ordered by worker, then by first meeting."""
    rows = stable_order(answers.worker_index, answers.num_workers)
    of_worker = np.concatenate([[0], np.cumsum(answers.answers_per_worker())]).astype(np.int64)
    columns = (answers.task_start(), answers.task_index, answers.worker_index, answers.option_index)
    start = np.zeros(answers.num_workers + 1, np.int64)
    nothing = np.empty(0, np.int32), np.empty(0, np.float64)
    _meet(*columns, rows, of_worker, start, *nothing)
    start = np.cumsum(start)
    other, agreement = np.empty(start[-1], np.int32), np.empty(start[-1], np.float64)
    _meet(*columns, rows, of_worker, start, other, agreement)
    return start, other, agreement


@numba.njit(cache=True)
def _meet(
    task_start, task, worker, option, rows, of_worker, start, other, agreement
):  # pragma: no cover
    """Fill other and agreement [P] from start [W+1]; where they are empty, count instead: write
    the number of pairs of worker w to start[w + 1]."""
    counting = len(other) == 0
    num_workers = len(of_worker) - 1
    common = np.zeros(num_workers, np.int64)
    agreed = np.zeros(num_workers, np.int64)
    met = np.empty(num_workers, np.int32)
    for w in range(num_workers):
        count = 0
        for r in range(of_worker[w], of_worker[w + 1]):
            e = rows[r]
            for f in range(task_start[task[e]], task_start[task[e] + 1]):
                v = worker[f]
                if v == w:
                    continue
                if common[v] == 0:
                    met[count] = v
                    count += 1
                common[v] += 1
                agreed[v] += option[e] == option[f]
        if counting:
            start[w + 1] = count
        for i in range(count):
            v = met[i]
            if not counting:
                other[start[w] + i] = v
                agreement[start[w] + i] = agreed[v] / common[v]
            common[v] = 0
            agreed[v] = 0


@numba.njit(cache=True)
def _filtered_means(start, other, values, divisor, present, filtered, tasks):  # pragma: no cover
    """For each worker the filtered mean of values [P] / divisor[other], from present [W]."""
    means = present.copy()
    for w in range(len(means)):
        count = start[w + 1] - start[w]
        if count == 0:
            continue
        ratios = np.empty(count, np.float64)
        for i in range(count):
            ratios[i] = values[start[w] + i] / max(divisor[other[start[w] + i]], _SMALLEST)
        first, last = 0, count
        if filtered > 0:
            ratios.sort()
            below, above = 0, 0
            for i in range(count):
                below += ratios[i] < present[w]
                above += ratios[i] > present[w]
            first, last = min(below, filtered), count - min(above, filtered)
        if last <= first:
            continue
        total = 0.0
        for i in range(first, last):
            total += ratios[i]
        if last - first == 1 and total == 0.0:
            total = 1.0 / np.sqrt(tasks)
        means[w] = total / (last - first)
    return means


@numba.njit(cache=True)
def _complete(start, other, size, filtered, tasks, max_iterations, tolerance):  # pragma: no cover
    """Complete size [P] >= 0 as u u' with u [W]; also returns iterations and whether converged."""
    u = np.full(len(start) - 1, 0.5)
    v = u.copy()
    iterations, converged = 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        v_before, u_before = v, u
        v = _filtered_means(start, other, size, u, v, filtered, tasks)
        u = _filtered_means(start, other, size, v, u, filtered, tasks)
        # u v' - u_before v_before' = du v' + u_before dv', whose norm needs no matrix.
        du, dv = u - u_before, v - v_before
        moved = (du * du).sum() * (v * v).sum() + (u_before * u_before).sum() * (dv * dv).sum()
        moved += 2.0 * (du * u_before).sum() * (v * dv).sum()
        converged = np.sqrt(max(moved, 0.0)) < tolerance
    scale = np.sqrt(np.sqrt((u * u).sum() / max((v * v).sum(), _SMALLEST)))
    return u / max(scale, _SMALLEST), iterations, converged


@numba.njit(cache=True)
def _signs(start, other, sign):  # pragma: no cover
    """Signs of the workers, 1 or -1 [W], whose products come closest to sign [P], by power
    iteration from all 1; more are 1 than -1."""
    x = np.ones(len(start) - 1, np.float64)
    for _ in range(_SIGN_STEPS):
        after, largest = x.copy(), _SMALLEST
        for w in range(len(x)):
            total = 0.0
            for p in range(start[w], start[w + 1]):
                total += sign[p] * x[other[p]]
            after[w] += total / max(1, start[w + 1] - start[w])
            largest = max(largest, abs(after[w]))
        x = after / largest
    balance = 0.0
    for w in range(len(x)):
        x[w] = -1.0 if x[w] < 0.0 else 1.0
        balance += x[w]
    return x if balance >= 0.0 else -x
