"""Bayesian weighted average.

Letters: T tasks, W workers, K options.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.methods.answers import Answers, MethodResult

__all__ = ["bwa"]

# Of (Li et al., 2019): shape of the gamma prior of a worker's precision, precision of the normal
# prior of a task's value.
_SHAPE, _TASK_PRECISION = 15.0, 1.0


def bwa(answers: Answers, *, max_iterations: int = 500, tolerance: float = 1e-4) -> MethodResult:
    """Li, Rubinstein and Cohn (2019): per option, answers are noisy measurements of a real value.

    Y. Li, B. Rubinstein and T. Cohn, Truth Inference at Scale: A Bayesian Model for Adjudicating
    Highly Redundant Crowd Annotations, WWW 2019: an answer is 1 for its option and 0 for every
    other; it is normal around the task's value with the worker's precision; values are normal
    around their mean with precision 1, precisions have a gamma prior of shape 15 whose rate
    follows from the spread of the votes. Each option apart, in turn: mean of the values;
    precision[w] = (15 + answers[w]) / (rate + sum of squared residuals[w]);
    value = (mean + sum of precisions of those who say so) / (1 + sum of all precisions); until no
    value moves by more than `tolerance`. Probabilities are the values divided by their sum.
    worker_score: mean over the options of the worker's precision.
    """
    answers = answers.in_order()
    values = answers.vote_shares()
    precision = np.zeros(answers.num_workers)
    iterations, converged = 0, True
    columns = answers.task_start(), answers.worker_index, answers.option_index
    counts = answers.answers_per_worker()
    for option in range(answers.num_options):
        value = values[:, option].copy()
        # The spread of a uniform vote over K options stands for 1/4, that of two.
        spread = answers.answers_per_task() @ (value * (1.0 - value)) / max(1, len(columns[1]))
        rate = _SHAPE * spread * 4.0 * (1.0 - 1.0 / answers.num_options)
        of_worker, steps, done = _fit(
            *columns, option, value, counts, rate, max_iterations, tolerance
        )
        values[:, option] = value
        precision += of_worker / answers.num_options
        iterations, converged = max(iterations, steps), converged and done
    total = values.sum(axis=1, keepdims=True)
    probabilities = np.divide(values, total, out=np.zeros_like(values), where=total > 0.0)
    return MethodResult.of(
        answers, probabilities, precision, iterations=iterations, converged=converged
    )


@numba.njit(cache=True)
def _fit(
    task_start, worker, answer, option, value, counts, rate, max_iterations, tolerance
):  # pragma: no cover
    """Fit the values [T] of one option in place, from vote shares; counts: answers per worker [W].

    Returns the precisions [W], the number of iterations, and whether they converged.
    """
    precision = np.full(len(counts), np.nan)
    squares = np.empty(len(counts), np.float64)
    iterations, converged = 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        squares[:] = 0.0
        total, answered = 0.0, 0
        for t in range(len(value)):
            answered += task_start[t] < task_start[t + 1]
            total += value[t]  # 0 for a task without annotations
            for e in range(task_start[t], task_start[t + 1]):
                residual = value[t] - (answer[e] == option)
                squares[worker[e]] += residual * residual
        mean = total / max(1, answered)
        for w in range(len(counts)):
            # A positive rate keeps the precisions finite where all answers of an option agree.
            precision[w] = (_SHAPE + counts[w]) / (max(rate, 1e-9) + squares[w])
        moved = 0.0
        for t in range(len(value)):
            if task_start[t] == task_start[t + 1]:
                continue
            above, below = _TASK_PRECISION * mean, _TASK_PRECISION
            for e in range(task_start[t], task_start[t + 1]):
                above += precision[worker[e]] * (answer[e] == option)
                below += precision[worker[e]]
            moved = max(moved, abs(above / below - value[t]))
            value[t] = above / below
        converged = moved <= tolerance
    return precision, iterations, converged
