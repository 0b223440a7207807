"""Numbers that say what a crowd is like: sixteen of accuracy and load, and diagnostics of ours.

The CrowdFM paper (ICLR 2026, Appendix F) compares synthetic with real sets by 16 statistics of
accuracy and load. Its list is not at hand; ours are mean, standard deviation, skewness and
kurtosis of four distributions. The diagnostics ask what those sixteen cannot see: how unequally
classes are recognised, where wrong answers go, and how much of all spread is more than chance.

Letters: E annotations, T tasks, W workers, K options, N values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.simulation_checks.judged import FloatArray, IntArray, JudgedCrowd

__all__ = ["DIAGNOSTICS", "STATISTICS", "describe", "moments"]

_DISTRIBUTIONS = (
    "worker_accuracy",  # share of right answers, of workers who answered a task with truth
    "task_accuracy",  # share of right answers, of tasks with truth
    "log_annotations_per_worker",  # natural logarithms
    "log_annotations_per_task",
)
_MOMENTS = ("mean", "deviation", "skewness", "kurtosis")

STATISTICS = tuple(f"{name}_{moment}" for name in _DISTRIBUTIONS for moment in _MOMENTS)

# Name -> what it says. Classes are true options with at least _FEWEST_ANSWERS answers.
DIAGNOSTICS = {
    "log_annotations": "natural logarithm of E",
    "log_options": "natural logarithm of K",
    "worker_load_gini": "Gini coefficient of annotations per worker",
    "truth_imbalance": "1 - entropy of the true options / log K, over tasks",
    "class_accuracy_deviation": "standard deviation over classes of the share of right answers",
    "class_accuracy_lowest": "the lowest share of right answers of a class",
    "class_margin_lowest": "the lowest share right - share of the largest wrong answer of a class",
    "answer_concentration": "(entropy of truth - entropy of answers) / log K, over annotations",
    "wrong_answer_concentration": "largest wrong answer's share of a class's errors, 0 if uniform",
    "error_agreement": "two errors on a task agree more often than two on its class, by this",
    "task_spread": "deviation of accuracy between tasks of a class, beyond chance",
    "worker_spread": "deviation of accuracy between workers, classes alike, beyond chance",
    "worker_class_spread": "the same between workers on one class",
    "tasks_below_chance": "share of tasks whose share of right answers is below 1 / K",
    "task_accuracy_bimodality": "(skewness^2 + 1) / kurtosis; normal 0.33, two values 1",
    "majority_vote_accuracy": "accuracy of majority voting, ties shared",
    "majority_vote_gain": "that minus the share of right answers",
}

_FEWEST_ANSWERS = 20
_CONSTANT = 1e-9  # standard deviation below which values count as equal


def moments(values: npt.ArrayLike) -> tuple[float, float, float, float]:
    """Mean, standard deviation, skewness and excess kurtosis of N >= 1 values, not corrected for
    N. Equal values have neither skew nor tails: 0 and 0."""
    array = np.asarray(values, float)
    mean, deviation = array.mean(), array.std()
    if deviation < _CONSTANT:
        return float(mean), 0.0, 0.0, 0.0
    standard = (array - mean) / deviation
    return (
        float(mean),
        float(deviation),
        float((standard**3).mean()),
        float((standard**4).mean() - 3.0),
    )


def describe(crowd: JudgedCrowd) -> dict[str, float]:
    """Every statistic and diagnostic of one crowd, NaN where it has no meaning (how errors
    divide over the wrong options when there is only one)."""
    judged = crowd.has_truth[crowd.task_index]
    task, worker = crowd.task_index[judged], crowd.worker_index[judged]
    answer, truth = crowd.option_index[judged], crowd.true_option[task]
    right = (answer == truth).astype(float)
    task_accuracy = _mean_by(task, right, crowd.num_tasks)
    worker_load = np.bincount(crowd.worker_index, minlength=crowd.num_workers)
    task_load = np.bincount(crowd.task_index, minlength=crowd.num_tasks)
    values = (
        _mean_by(worker, right, crowd.num_workers),
        task_accuracy,
        np.log(worker_load),
        np.log(task_load),
    )
    numbers = [number for distribution in values for number in moments(distribution)]
    found = dict(zip(STATISTICS, numbers, strict=True))

    options = crowd.num_options
    votes = count_votes(crowd.task_index, crowd.option_index, num_tasks=crowd.num_tasks)
    voted = float(votes.credit(crowd.true_option)[crowd.has_truth].mean())
    skewness, kurtosis = moments(task_accuracy)[2:]
    known = truth >= 0
    found |= {
        "log_annotations": float(np.log(len(crowd.task_index))),
        "log_options": float(np.log(options)),
        "worker_load_gini": _gini(worker_load),
        "tasks_below_chance": float((task_accuracy < 1.0 / options).mean()),
        "task_accuracy_bimodality": (skewness**2 + 1.0) / (kurtosis + 3.0),
        "majority_vote_accuracy": voted,
        "majority_vote_gain": voted - float(right.mean()),
    }
    of_tasks = crowd.true_option[crowd.has_truth & (crowd.true_option >= 0)]
    found |= _of_classes(truth[known], answer[known], of_tasks, options)
    found |= _beyond_chance(task[known], worker[known], truth[known], right[known], options)
    wrong = known & (right == 0)
    found["error_agreement"] = _error_agreement(task[wrong], truth[wrong], answer[wrong], options)
    return found


def _of_classes(
    truth: IntArray, answer: IntArray, true_option_of_tasks: IntArray, options: int
) -> dict[str, float]:
    """What the pooled confusion matrix says; truth and answer: [E], options in 0..K-1."""
    key = truth.astype(np.int64) * options + answer
    counts = np.bincount(key, minlength=options**2).reshape(options, options)
    of_class = counts.sum(axis=1)
    counts, number = (
        counts[of_class >= _FEWEST_ANSWERS],
        np.flatnonzero(of_class >= _FEWEST_ANSWERS),
    )
    total = counts.sum(axis=1)
    place = np.arange(len(counts))
    right = counts[place, number] / total
    wrong = counts.copy()
    wrong[place, number] = 0
    largest, errors = wrong.max(axis=1, initial=0), wrong.sum(axis=1)
    concentration = float("nan")
    if options > 2 and errors.sum():
        uniform = 1.0 / (options - 1)
        concentration = float((largest.sum() / errors.sum() - uniform) / (1.0 - uniform))
    log_options = np.log(options) if options > 1 else 1.0
    margin = right - largest / total
    defined = len(counts) > 0
    return {
        "truth_imbalance": 1.0 - _entropy(np.bincount(true_option_of_tasks)) / log_options,
        "class_accuracy_deviation": float(right.std()) if defined else float("nan"),
        "class_accuracy_lowest": float(right.min()) if defined else float("nan"),
        "class_margin_lowest": float(margin.min()) if defined else float("nan"),
        "answer_concentration": (_entropy(np.bincount(truth)) - _entropy(np.bincount(answer)))
        / log_options,
        "wrong_answer_concentration": concentration,
    }


def _beyond_chance(
    task: IntArray, worker: IntArray, truth: IntArray, right: FloatArray, options: int
) -> dict[str, float]:
    """Spreads of accuracy, from the covariance of two answers of one owner; all arrays [E].

    What an answer's class explains is taken away first.
    """
    if not len(right):
        return dict.fromkeys(("task_spread", "worker_spread", "worker_class_spread"), float("nan"))
    by_class = np.bincount(truth, right) / np.maximum(np.bincount(truth), 1)
    residual = right - by_class[truth]
    return {
        "task_spread": _spread_between(task, residual),
        "worker_spread": _spread_between(worker, residual),
        "worker_class_spread": _spread_between(worker.astype(np.int64) * options + truth, residual),
    }


def _spread_between(owner: IntArray, residual: FloatArray) -> float:
    """Square root of the mean product of two different residuals of one owner, 0 where that is
    negative. An owner with n residuals [E] weighs n - 1: neither one of two nor of thousands
    decides alone. NaN if nobody has two."""
    count = np.bincount(owner)
    total, squares = np.bincount(owner, residual), np.bincount(owner, residual**2)
    several = count > 1
    if not several.any():
        return float("nan")
    covariance = (total**2 - squares)[several] / count[several]
    return float(np.sqrt(max(0.0, covariance.sum() / (count[several] - 1).sum())))


def _error_agreement(task: IntArray, truth: IntArray, answer: IntArray, options: int) -> float:
    """How much more often two wrong answers [E] to a task agree than two to its class."""
    if options < 3:
        return float("nan")
    of_task = np.bincount(task)
    pairs = of_task * (of_task - 1.0)
    if not pairs.sum():
        return float("nan")
    on_task = np.unique(task.astype(np.int64) * options + answer, return_counts=True)[1]
    agreeing = (on_task * (on_task - 1.0)).sum() / pairs.sum()

    key, on_class = np.unique(truth.astype(np.int64) * options + answer, return_counts=True)
    same = np.bincount(key // options, on_class * (on_class - 1.0), options)
    of_class = np.bincount(truth, minlength=options)
    chance = same / np.maximum(of_class * (of_class - 1.0), 1.0)
    class_of_task = np.zeros(len(of_task), np.int64)
    class_of_task[task] = truth
    return float(agreeing - (pairs * chance[class_of_task]).sum() / pairs.sum())


def _mean_by(owner: IntArray, values: FloatArray, number: int) -> FloatArray:
    """Mean of the values [E] of each owner that has one."""
    count = np.bincount(owner, minlength=number)
    return np.bincount(owner, values, number)[count > 0] / count[count > 0]


def _entropy(counts: IntArray) -> float:
    """Entropy in nats of a distribution given as counts."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def _gini(loads: IntArray) -> float:
    """Gini coefficient of loads [W] >= 0: 0 if all are equal, near 1 if one has all."""
    ordered = np.sort(loads)
    place = np.arange(1, len(ordered) + 1)
    number = len(ordered)
    return float((2.0 * place - number - 1.0) @ ordered / (number * ordered.sum()))
