"""Pl@ntNet's vote: workers weigh by how many options they have shown to know.

Letters: T tasks, W workers, K options.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.methods.answers import Answers, Floats, MethodResult
from crowdfm_core.methods.weighted_votes import shares_of_votes

__all__ = ["plantnet"]

# Of (Lefort et al., 2024): the weight function, and what makes a task's label valid.
_ALPHA, _BETA, _GAMMA = 0.5, 0.2, float(np.log(2.1))
_CONFIDENCE, _ACCURACY = 2.0, 0.7


def plantnet(answers: Answers, *, max_iterations: int = 100) -> MethodResult:
    """Lefort et al. (2024): votes weighted by the number of options that a worker identifies.

    T. Lefort, A. Affouard, B. Charlier, J.-C. Lombardo, M. Chouet, H. Goeau, J. Salmon, P. Bonnet
    and A. Joly, Cooperative Learning of Pl@ntNet's Artificial Intelligence Algorithm: How Does It
    Work and How Can We Improve It?, Methods in Ecology and Evolution 2024, the section on the
    aggregation strategy: weight[w] = n^0.5 - n^0.2 + log(2.1), where n is the number of distinct
    options that the worker gave as the label of valid tasks; a task is valid if the weights of its
    label sum to more than 2 and are more than 0.7 of its weights. Starts from equal weights
    log(2.1), ends when no n changes. There an observation's author counts one per species and
    those who vote on it a tenth; annotations here have no author, so all count one. Meant for
    hundreds of options: with a few, weights hardly differ. worker_score: the weight, above 0.
    """
    answers = answers.in_order()
    identified = np.zeros(answers.num_workers)
    iterations, converged = 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        votes = answers.votes(_weights(identified)[answers.worker_index])
        last, identified = identified, _identified(answers, votes)
        converged = bool((last == identified).all())
    weights = _weights(identified)
    shares = shares_of_votes(answers, answers.votes(weights[answers.worker_index]))
    return MethodResult.of(answers, shares, weights, iterations=iterations, converged=converged)


def _weights(identified: Floats) -> Floats:
    weights: Floats = identified**_ALPHA - identified**_BETA + _GAMMA
    return weights


def _identified(answers: Answers, votes: Floats) -> Floats:
    """Number of options that each worker gave as the label of a valid task, [W]."""
    label, confidence = votes.argmax(axis=1), votes.max(axis=1, initial=0.0)
    # A tied label is at most half of the weights and never valid, so its choice is of no account.
    valid = (confidence > _CONFIDENCE) & (confidence > _ACCURACY * votes.sum(axis=1))
    task, option = answers.task_index, answers.option_index
    named = valid[task] & (option == label[task])
    known = np.zeros((answers.num_workers, answers.num_options), np.bool_)
    known[answers.worker_index[named], option[named]] = True
    num_known: Floats = known.sum(axis=1).astype(np.float64)
    return num_known
