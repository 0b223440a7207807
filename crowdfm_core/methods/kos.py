"""KOS: messages between tasks and workers, for two options.

Letters: E annotations, T tasks, W workers.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.errors import UndefinedMethodError
from crowdfm_core.methods.answers import Answers, MethodResult

__all__ = ["kos"]

# A sum of messages this small, with messages of unit size, says nothing: it is rounding.
_NO_MESSAGE = 1e-9


def kos(
    answers: Answers, *, seed: int = 0, max_iterations: int = 100, tolerance: float = 1e-6
) -> MethodResult:
    """Karger, Oh and Shah (2011): iterative learning by passing messages, for two options.

    D. R. Karger, S. Oh and D. Shah, Iterative Learning for Reliable Crowdsourcing Systems, NIPS
    2011, the section on the inference algorithm: with an answer A of +1 or -1, a task sends a
    worker x = the sum of A y over its other answers, and a worker sends a task y = the sum of A x
    over its other answers; the label is the sign of the sum of A y. Messages y start normal around
    1 with variance 1, drawn from `seed`; they are scaled to unit size in every round, which
    changes no sign. Ends after `max_iterations` rounds, as in the paper, or when no message moves
    by more than `tolerance`. Where no message arrives (every worker of a task answers that task
    alone), or they cancel, the task's votes decide. There are no probabilities. worker_score: mean
    of A x over the worker's answers, on the real line, above 0 for those who agree with the
    messages of others.

    Raises UndefinedMethodError unless there are exactly two options.
    """
    if answers.num_options != 2:
        raise UndefinedMethodError("kos", f"it needs two options, got {answers.num_options}")
    answers = answers.in_order()
    sign = 2.0 * answers.option_index - 1.0
    message = np.random.default_rng(seed).normal(1.0, 1.0, len(sign))
    reliability = np.zeros(answers.num_workers)
    iterations, converged = 0, len(sign) == 0
    while not converged and iterations < max_iterations:
        iterations += 1
        last = message
        message, reliability = _pass_messages(
            answers.task_start(), answers.worker_index, sign, last, answers.num_workers
        )
        converged = bool(np.abs(message - last).max(initial=0.0) <= tolerance)
    decision = answers.sum_per_task(sign * message)
    undecided = np.abs(decision) <= _NO_MESSAGE
    decision[undecided] = answers.sum_per_task(sign)[undecided]
    answered = answers.answers_per_task() > 0
    counts = answers.answers_per_worker()
    return MethodResult(
        probabilities=None,
        label=np.where(answered, decision > 0.0, -1).astype(np.int32),
        worker_score=np.where(counts == 0, np.nan, reliability / np.maximum(counts, 1)),
        iterations=iterations,
        converged=converged,
    )


@numba.njit(cache=True)
def _pass_messages(task_start, worker, sign, message, num_workers):  # pragma: no cover
    """One round: y [E] of the workers from y [E] before, of unit root mean square or all 0.

    Also returns the sum of A x over each worker's answers, [W], with x made from unit y.
    """
    sums = np.zeros(num_workers, np.float64)
    agreed = np.empty(len(sign), np.float64)  # A x
    for t in range(len(task_start) - 1):
        total = 0.0
        for e in range(task_start[t], task_start[t + 1]):
            total += sign[e] * message[e]
        for e in range(task_start[t], task_start[t + 1]):
            agreed[e] = sign[e] * (total - sign[e] * message[e])
            sums[worker[e]] += agreed[e]
    squares = 0.0
    after = np.empty(len(sign), np.float64)
    for e in range(len(sign)):
        after[e] = sums[worker[e]] - agreed[e]
        squares += after[e] * after[e]
    size = np.sqrt(squares / len(sign))
    if size > 0.0:
        after /= size
    return after, sums
