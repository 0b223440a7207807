"""GLAD: abilities of workers and difficulties of tasks in a logistic model.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.methods.answers import Answers, Floats, Gold, IntArray, MethodResult, restricted

__all__ = ["glad"]

# Means of the normal priors, with variance 1, of abilities and of log inverse difficulties.
_MEAN_ABILITY = 1.0
_MEAN_LOG_INVERSE_DIFFICULTY = 1.0
_LARGEST_STEP = 1.0  # of Newton's method, in one parameter


def glad(
    answers: Answers, *, gold: Gold = None, max_iterations: int = 500, tolerance: float = 1e-6
) -> MethodResult:
    """Whitehill et al. (2009): the true option is named with probability sigmoid(alpha beta).

    J. Whitehill, P. Ruvolo, T. Wu, J. Bergsma and J. Movellan, Whose Vote Should Count More, NIPS
    2009: an ability alpha per worker and an inverse difficulty beta > 0 per task; EM on
    Q = E[log p(answers | truth, alpha, beta)] with normal priors of mean 1 and variance 1 on alpha
    and log beta; equally likely wrong options, uniform class priors. In place of conjugate
    gradients each M-step is one guarded Newton step for every worker, then one for every task,
    which are independent given the other side. Ends when the log of the marginal likelihood with
    the priors, per annotation, moves by less than `tolerance`. Posteriors of gold tasks stay at
    their gold option. worker_score: the ability alpha, on the real line.
    """
    answers = answers.in_order()
    known_option = answers.known_options(gold)
    ability = np.full(answers.num_workers, _MEAN_ABILITY)
    log_inverse = np.full(answers.num_tasks, _MEAN_LOG_INVERSE_DIFFICULTY)
    posterior = answers.vote_shares()
    objective, iterations, converged = -np.inf, 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        posterior, evidence = _posteriors(answers, ability, log_inverse, known_option)
        last, objective = objective, evidence + _log_priors(ability, log_inverse)
        converged = abs(objective - last) < tolerance * max(1, len(answers.task_index))
        if not converged:
            right = answers.own_values(posterior)
            ability = _step_of_workers(answers, right, ability, log_inverse)
            log_inverse = _step_of_tasks(answers, right, ability, log_inverse)
    return MethodResult.of(answers, posterior, ability, iterations=iterations, converged=converged)


def _posteriors(
    answers: Answers, ability: Floats, log_inverse: Floats, known_option: IntArray
) -> tuple[Floats, float]:
    """Posteriors of the true option [T, K], and the log of the marginal likelihood."""
    logit = _logit(answers, ability, log_inverse)
    log_right = -np.logaddexp(0.0, -logit)
    log_wrong = -np.logaddexp(0.0, logit) - np.log(max(1, answers.num_options - 1))
    scores = answers.votes(log_right - log_wrong) - np.log(answers.num_options)
    scores = restricted(scores, known_option)
    largest = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - largest)
    total = weights.sum(axis=1, keepdims=True)
    evidence = float(log_wrong.sum() + (largest + np.log(total)).sum())
    return weights / total, evidence


def _log_priors(ability: Floats, log_inverse: Floats) -> float:
    squares = (ability - _MEAN_ABILITY) ** 2
    squares_of_tasks = (log_inverse - _MEAN_LOG_INVERSE_DIFFICULTY) ** 2
    return float(-0.5 * (squares.sum() + squares_of_tasks.sum()))


def _step_of_workers(
    answers: Answers, right: Floats, ability: Floats, log_inverse: Floats
) -> Floats:
    """One step towards the maximum of Q in every ability; right: posterior of the answer [E]."""
    inverse = np.exp(log_inverse)[answers.task_index]
    sigmoid = _sigmoid(_logit(answers, ability, log_inverse))
    slope = answers.sum_per_worker((right - sigmoid) * inverse) - (ability - _MEAN_ABILITY)
    curvature = answers.sum_per_worker(sigmoid * (1.0 - sigmoid) * inverse**2) + 1.0
    return ability + np.clip(slope / curvature, -_LARGEST_STEP, _LARGEST_STEP)


def _step_of_tasks(answers: Answers, right: Floats, ability: Floats, log_inverse: Floats) -> Floats:
    """One step towards the maximum of Q in every log inverse difficulty.

    The curvature has two terms. The second, -(right - sigmoid) logit, can have either sign; answers
    where it is negative leave it out, so that no step overshoots and comes back for ever.
    """
    logit = _logit(answers, ability, log_inverse)
    sigmoid = _sigmoid(logit)
    slope_of_answer = (right - sigmoid) * logit
    slope = answers.sum_per_task(slope_of_answer) - (log_inverse - _MEAN_LOG_INVERSE_DIFFICULTY)
    curvature_of_answer = sigmoid * (1.0 - sigmoid) * logit**2 + np.maximum(-slope_of_answer, 0.0)
    curvature = answers.sum_per_task(curvature_of_answer) + 1.0
    return log_inverse + np.clip(slope / curvature, -_LARGEST_STEP, _LARGEST_STEP)


def _logit(answers: Answers, ability: Floats, log_inverse: Floats) -> Floats:
    logit: Floats = ability[answers.worker_index] * np.exp(log_inverse)[answers.task_index]
    return logit


def _sigmoid(logit: Floats) -> Floats:
    sigmoid: Floats = np.exp(-np.logaddexp(0.0, -logit))
    return sigmoid
