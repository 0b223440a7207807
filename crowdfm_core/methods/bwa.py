"""Bayesian weighted average.

Letters: T tasks, W workers, K options.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.methods.answers import Answers, Floats, MethodResult

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
    for option in range(answers.num_options):
        said = (answers.option_index == option).astype(np.float64)
        value, of_worker, steps, done = _fit(
            answers, said, values[:, option], max_iterations, tolerance
        )
        values[:, option] = value
        precision += of_worker / answers.num_options
        iterations, converged = max(iterations, steps), converged and done
    total = values.sum(axis=1, keepdims=True)
    probabilities = np.divide(values, total, out=np.zeros_like(values), where=total > 0.0)
    return MethodResult.of(
        answers, probabilities, precision, iterations=iterations, converged=converged
    )


def _fit(
    answers: Answers, said: Floats, value: Floats, max_iterations: int, tolerance: float
) -> tuple[Floats, Floats, int, bool]:
    """Values [T] and precisions [W] of one option, from vote shares `value` [T]; said: 0/1 [E].

    Also returns the number of iterations and whether they converged.
    """
    answered = answers.answers_per_task() > 0
    counts = answers.answers_per_worker()
    spread = answers.answers_per_task() @ (value * (1.0 - value)) / max(1, len(said))
    # The spread of a uniform vote over K options stands for 1/4, that of two.
    rate = _SHAPE * spread * 4.0 * (1.0 - 1.0 / answers.num_options)
    precision = np.full(answers.num_workers, np.nan)
    iterations, converged = 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        squares = answers.sum_per_worker((value[answers.task_index] - said) ** 2)
        # A positive rate keeps the precisions finite where all answers of an option agree.
        precision = (_SHAPE + counts) / (np.maximum(rate, 1e-9) + squares)
        weight = precision[answers.worker_index]
        mean = value[answered].mean() if answered.any() else 0.0
        last = value
        value = (_TASK_PRECISION * mean + answers.sum_per_task(weight * said)) / (
            _TASK_PRECISION + answers.sum_per_task(weight)
        )
        converged = bool(np.abs(value - last)[answered].max(initial=0.0) <= tolerance)
    return value, precision, iterations, converged
