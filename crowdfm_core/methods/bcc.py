"""Bayesian classifier combination, independent (IBCC) and with subtypes of tasks (EBCC).

Letters: T tasks, W workers, K options, M subtypes, J = K x M states of a task; state j is option
j // M, subtype j % M.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crowdfm_core.methods.answers import Answers, Floats, Gold, IntArray, MethodResult, pinned
from crowdfm_core.methods.dirichlet import fit_answers, fit_rows
from crowdfm_core.methods.loops import expect_states, expected_counts

__all__ = ["EBCC_SUBTYPES", "ebcc", "ibcc"]

EBCC_SUBTYPES = 10
# Priors of (Li et al., 2019): pseudo-counts of right and of each wrong answer, and of a subtype.
_RIGHT, _WRONG, _SUBTYPE = 4.0, 1.0, 0.1
_FEWEST_VOTES = 0.01  # stands for none, where an option that nobody answered needs a prior
# A subtype is left out below this many tasks, and below this share of the mean over subtypes.
# Subtypes that are in use hold whole tasks; emptied ones were never seen to fill again.
_LARGEST_DROPPED, _DROPPED_SHARE = 1e-2, 1e-5
_DRAWN_AT_ONCE = 1 << 20  # random numbers


def ibcc(
    answers: Answers, *, gold: Gold = None, max_iterations: int = 500, tolerance: float = 1e-6
) -> MethodResult:
    """Kim and Ghahramani (2012): Dawid and Skene's model with Dirichlet priors, variational.

    H.-C. Kim and Z. Ghahramani, Bayesian Classifier Combination, AISTATS 2012 (the independent
    model), with mean-field updates: log posterior[k] = psi(n[k]) + sum over the task's answers of
    psi(n[w, answer, k]) - psi(sum over answers of n[w, answer, k]) + constant, where the n are
    pseudo-counts plus expected counts and psi is the digamma function; the pseudo-counts of answers
    are those of EBCC's paper, of options 1; started from vote shares. Ends when the evidence
    lower bound per annotation grows by less than `tolerance`. Posteriors of gold tasks stay at
    their gold option. worker_score: expected probability of naming the true option of a task drawn
    from the class frequencies, in [0, 1].
    """
    answers = answers.in_order()
    known_option = answers.known_options(gold)
    start = _start(answers, pinned(answers.vote_shares(), known_option), 1, None)
    prior = np.ones(answers.num_options)
    return _fit(answers, known_option, start, prior, max_iterations, tolerance).result(answers)


def ebcc(
    answers: Answers,
    *,
    gold: Gold = None,
    seed: int = 0,
    num_starts: int = 1,
    max_iterations: int = 500,
    tolerance: float = 1e-6,
) -> MethodResult:
    """Li, Rubinstein and Cohn (2019): every option has subtypes, which correlate the workers.

    Y. Li, B. Rubinstein and T. Cohn, Exploiting Worker Correlation for Label Aggregation in
    Crowdsourcing, ICML 2019: 10 subtypes per option and a confusion matrix per worker and subtype;
    mean-field updates of the joint posterior of option and subtype as in `ibcc`, with
    psi(m[k, subtype]) - psi(sum over subtypes of m[k, subtype]) added; pseudo-counts 4 of right and
    1 of each wrong answer, 0.1 of each subtype, and the vote shares of the options. Each start
    draws the subtypes' shares of every task from `seed`; the start with the largest lower bound is
    kept. The sparse prior empties most subtypes, for good: a subtype with a negligible part of the
    tasks is left out from then on, which makes the later iterations several times faster. Ends and
    uses gold like `ibcc`, with the same worker_score.
    """
    answers = answers.in_order()
    known_option = answers.known_options(gold)
    rng = np.random.default_rng(seed)
    shares = answers.vote_shares()
    prior = np.maximum(shares.sum(axis=0), _FEWEST_VOTES)
    shares = pinned(shares, known_option)
    fits = [
        _fit(
            answers,
            known_option,
            _start(answers, shares, EBCC_SUBTYPES, rng),
            prior,
            max_iterations,
            tolerance,
        )
        for _ in range(num_starts)
    ]
    return max(fits, key=lambda fit: fit.bound).result(answers)


@dataclass(frozen=True)
class _Sums:
    """Expected counts of answers [W, K, J], and of tasks per state, mass [J]."""

    counts: Floats
    mass: Floats


@dataclass(frozen=True)
class _Fit:
    """Posteriors [T, K], expected accuracies [W] and the lower bound of one run."""

    posterior: Floats
    accuracy: Floats
    bound: float
    iterations: int
    converged: bool

    def result(self, answers: Answers) -> MethodResult:
        return MethodResult.of(
            answers,
            self.posterior,
            self.accuracy,
            iterations=self.iterations,
            converged=self.converged,
        )


def _start(
    answers: Answers, shares: Floats, subtypes: int, rng: np.random.Generator | None
) -> _Sums:
    """Sums of shares [T, K] divided among an option's subtypes by a uniform draw from a simplex.

    Drawn for a range of tasks at a time, so that no array of tasks and states is held.
    """
    states = answers.num_options * subtypes
    counts, mass = np.zeros((answers.num_workers, answers.num_options, states)), np.zeros(states)
    start = answers.task_start()
    step = max(1, _DRAWN_AT_ONCE // states)
    for first in range(0, answers.num_tasks, step):
        state = shares[first : first + step]
        if rng is not None:
            draw = rng.standard_exponential((*state.shape, subtypes))
            draw /= draw.sum(axis=2, keepdims=True)
            state = (state[:, :, None] * draw).reshape(len(state), -1)
        rows = start[first : first + step + 1]
        expected_counts(rows, answers.worker_index, answers.option_index, state, counts)
        mass += state.sum(axis=0)
    return _Sums(counts, mass)


def _fit(
    answers: Answers,
    known_option: IntArray,
    sums: _Sums,
    option_prior: Floats,
    max_iterations: int,
    tolerance: float,
) -> _Fit:
    """Coordinate ascent on the lower bound from the sums at the start, which are overwritten;
    option_prior [K] are the pseudo-counts of the options."""
    options, rows = answers.num_options, max(1, len(answers.task_index))
    start, worker, option = answers.task_start(), answers.worker_index, answers.option_index
    counts, mass = sums.counts, sums.mass
    option_of_state = np.repeat(np.arange(options), len(mass) // options)
    prior = np.where(np.arange(options)[:, None] == option_of_state, _RIGHT, _WRONG)  # [K, J]
    subtype_prior = np.full(len(mass) // options, _SUBTYPE)
    log_answer, posterior = np.empty_like(counts), np.empty((answers.num_tasks, options))
    live = np.arange(
        len(mass), dtype=np.int64
    )  # states that are not left out; counts hold these alone
    bound, entropy, iterations, converged, pruned = -np.inf, 0.0, 0, False, False
    while not converged and iterations < max_iterations:
        iterations += 1
        gain = fit_answers(counts, np.ascontiguousarray(prior[:, live]), log_answer)
        per_subtype = mass.reshape(options, -1)
        log_subtype, gain_of_subtypes = fit_rows(per_subtype, subtype_prior)
        log_option, gain_of_options = fit_rows(per_subtype.sum(axis=1)[None], option_prior)
        if iterations > 1:
            last, bound = bound, gain + gain_of_subtypes + gain_of_options + entropy
            converged = bound - last < tolerance * rows and not pruned
        log_prior = (log_option[0][:, None] + log_subtype).reshape(-1)[live]
        of_state, live_mass = option_of_state[live], np.zeros(len(live))
        counts[:] = 0.0
        entropy = expect_states(
            start,
            worker,
            option,
            log_answer,
            log_prior,
            of_state,
            known_option,
            counts,
            live_mass,
            posterior,
        )
        keep = _worth_keeping(live_mass, len(mass), options)
        pruned = not keep.all()
        if pruned:
            counts, live, live_mass = counts[:, :, keep].copy(), live[keep], live_mass[keep]
            log_answer = np.empty_like(counts)
        mass[:] = 0.0
        mass[live] = live_mass
    accuracy = _accuracy(counts, prior, live, mass + _SUBTYPE)
    return _Fit(posterior, accuracy, bound, iterations, converged)


def _worth_keeping(live_mass: Floats, states: int, options: int) -> npt.NDArray[np.bool_]:
    """Which live states stay, of `states` at the start; all do where options have no subtypes."""
    if states == options:
        return np.ones(len(live_mass), np.bool_)
    dropped_below = min(_LARGEST_DROPPED, _DROPPED_SHARE * float(live_mass.sum()) / states)
    keep: npt.NDArray[np.bool_] = live_mass >= dropped_below
    return keep


def _accuracy(counts: Floats, prior: Floats, live: npt.NDArray[np.int64], weight: Floats) -> Floats:
    """Expected probability of the right answer, [W], over states of weight [J].

    counts [W, K, live states]; prior [K, J], which stands alone for the states left out.
    """
    share = weight / weight.sum()
    of_prior = np.full(len(weight), _RIGHT) / prior.sum(axis=0)
    posterior = counts + prior[:, live]
    named = np.repeat(np.arange(len(prior)), len(weight) // len(prior))[live]
    right = posterior[:, named, np.arange(len(live))] / posterior.sum(axis=1)
    left_out = np.delete(share * of_prior, live).sum()
    accuracy: Floats = right @ share[live] + left_out
    return accuracy
