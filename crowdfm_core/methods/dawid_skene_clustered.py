"""Dawid and Skene's model with one confusion matrix per group of workers.

Letters: T tasks, W workers, K options, G groups.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crowdfm_core.methods.answers import Answers, Floats, Gold, MethodResult, pinned, softmax
from crowdfm_core.methods.dawid_skene import SMALLEST, entropy_of, log_rates
from crowdfm_core.methods.loops import expect_states, expected_counts

__all__ = ["dawid_skene_clustered"]


def dawid_skene_clustered(
    answers: Answers,
    *,
    gold: Gold = None,
    num_groups: int = 2,
    max_iterations: int = 100,
    tolerance: float = 1e-5,
) -> MethodResult:
    """Imamura, Sato and Sugiyama (2018): workers of a group share their confusion matrix.

    H. Imamura, I. Sato and M. Sugiyama, Analysis of Minimax Error Rate for Crowdsourcing and Its
    Application to Worker Clustering Model, ICML 2018, the worker clustering model: mean-field
    posteriors of the true options and of the workers' groups in turn, then the groups' confusion
    matrices, the class priors and the sizes of the groups by maximising the lower bound. Started
    from vote shares, and from workers ranked by the nuclear norm of their confusion matrix and cut
    into `num_groups` equal groups. The paper's random restart, for when all tasks end in one
    option, is left out. Ends when the lower bound per annotation grows by less than `tolerance`.
    Posteriors of gold tasks stay at their gold option. worker_score: expected probability of
    naming the true option of a task drawn from the class priors, in [0, 1].
    """
    answers = answers.in_order()
    known_option = answers.known_options(gold)
    start, worker, option = answers.task_start(), answers.worker_index, answers.option_index
    active = answers.answers_per_worker() > 0
    every_option = np.arange(answers.num_options)
    posterior = pinned(answers.vote_shares(), known_option)
    mass = posterior.sum(axis=0)
    counts = np.zeros((answers.num_workers, answers.num_options, answers.num_options))
    expected_counts(start, worker, option, posterior, counts)
    member, log_confusion = _start(counts, active, num_groups)
    prior, size = _distribution(mass), _distribution(member.sum(axis=0))
    bound, iterations, converged = -np.inf, 0, False
    while not converged and iterations < max_iterations:
        iterations += 1
        log_answer = np.tensordot(member, log_confusion, axes=1)  # [W, answer, truth]
        counts[:], mass[:] = 0.0, 0.0
        entropy = expect_states(
            start,
            worker,
            option,
            log_answer,
            np.log(prior),
            every_option,
            known_option,
            counts,
            mass,
            posterior,
        )
        member = softmax(np.tensordot(counts, log_confusion, axes=([1, 2], [1, 2])) + np.log(size))
        member[~active] = 0.0
        of_groups = np.tensordot(member, counts, axes=(0, 0))  # [G, answer, truth]
        log_confusion, prior = log_rates(of_groups), _distribution(mass)
        size = _distribution(member.sum(axis=0))
        expectation = float((of_groups * log_confusion).sum()) + float(mass @ np.log(prior))
        expectation += float(member.sum(axis=0) @ np.log(size)) + entropy_of(member)
        last, bound = bound, (expectation + entropy) / max(1, len(worker))
        converged = bound - last < tolerance
    right = np.exp(np.diagonal(log_confusion, axis1=1, axis2=2)) @ prior  # [G]
    return MethodResult.of(
        answers, posterior, member @ right, iterations=iterations, converged=converged
    )


def _start(counts: Floats, active: npt.NDArray[np.bool_], num_groups: int) -> tuple[Floats, Floats]:
    """Memberships [W, G], 0 or 1, and log confusion matrices [G, answer, truth] at the start."""
    rates = np.exp(log_rates(counts))
    # Rounded, so that equal workers keep their order whatever the order of the options.
    norm = np.linalg.svd(rates, compute_uv=False).sum(axis=1).round(9)
    ranked = np.argsort(np.where(active, -norm, np.inf), kind="stable")[: active.sum()]
    num_groups = max(1, min(num_groups, len(ranked)))
    member = np.zeros((len(counts), num_groups))
    confusion = np.empty((num_groups, *counts.shape[1:]))
    for group, workers in enumerate(np.array_split(ranked, num_groups)):
        member[workers, group] = 1.0
        confusion[group] = rates[workers].mean(axis=0) if len(workers) else 1.0
    return member, np.log(np.maximum(confusion, SMALLEST))


def _distribution(mass: Floats) -> Floats:
    """Shares of mass [N], all above 0."""
    shares: Floats = np.maximum(mass / max(float(mass.sum()), SMALLEST), SMALLEST)
    return shares
