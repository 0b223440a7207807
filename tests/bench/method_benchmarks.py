"""Classical methods against crowd-kit, on the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import (
    GLAD,
    KOS,
    MACE,
    MMSR,
    DawidSkene,
    GoldMajorityVote,
    MajorityVote,
    OneCoinDawidSkene,
    Wawa,
    ZeroBasedSkill,
)

from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.dawid_skene import dawid_skene, one_coin_dawid_skene
from crowdfm_core.methods.glad import glad
from crowdfm_core.methods.kos import kos
from crowdfm_core.methods.m_msr import m_msr
from crowdfm_core.methods.mace import mace
from crowdfm_core.methods.majority_vote import majority_vote
from crowdfm_core.methods.weighted_votes import gold_majority_vote, wawa, zero_based_skill
from tests.bench.crowds import SENTI, Crowd, Sizes, draw_crowd
from tests.bench.harness import Result, alternate
from tests.core.crowds_for_methods import clear, frame_of

__all__ = ["METHOD_BENCHMARKS", "method_senti"]

# Ten expectation steps of both: below any change, so that neither ends early. crowd-kit's first
# step already updates its matrices from vote shares.
_TEN: dict[str, Any] = {"max_iterations": 10, "tolerance": -np.inf}
_TEN_THERE: dict[str, Any] = {"n_iter": 10, "tol": -np.inf}


def _weighted(frame: pd.DataFrame, fitted: Any) -> Any:
    """Votes weighted by the skills of a fitted method, whose own fit_predict asks for an older
    scikit-learn."""
    return MajorityVote().fit(frame, skills=fitted.skills_).labels_


@dataclass(frozen=True)
class _Pair:
    """A method on index arrays, and crowd-kit's on a frame: labels or probabilities by task.

    Both take the option_index of the tasks with gold, -1 elsewhere. least_equal: share of equal
    labels, or of equal probabilities, that two forms of one algorithm with as many iterations must
    have; None where crowd-kit's is cut short, and must not be the more accurate one. options: None
    for as many as the crowd has. share: of the crowd's sizes, where crowd-kit cannot do more.
    """

    ours: Callable[[Answers, np.ndarray], MethodResult]
    other: Callable[[pd.DataFrame, pd.Series[Any]], Any]
    least_equal: float | None = 0.999
    options: int | None = None
    share: float = 1.0


_PAIRS = {
    "dawid_skene": _Pair(
        lambda answers, _: dawid_skene(answers, **_TEN),
        lambda frame, _: DawidSkene(**_TEN_THERE).fit_predict_proba(frame),
    ),
    "one_coin_dawid_skene": _Pair(
        lambda answers, _: one_coin_dawid_skene(answers, **_TEN),
        lambda frame, _: OneCoinDawidSkene(**_TEN_THERE).fit_predict_proba(frame),
    ),
    "majority_vote": _Pair(
        lambda answers, _: majority_vote(answers),
        lambda frame, _: MajorityVote().fit_predict_proba(frame),
    ),
    # crowd-kit gives tied votes to one option, and the weights follow from that.
    "wawa": _Pair(
        lambda answers, _: wawa(answers),
        lambda frame, _: _weighted(frame, Wawa().fit(frame)),
        least_equal=0.995,
    ),
    "zero_based_skill": _Pair(
        lambda answers, _: zero_based_skill(answers, iterations=10),
        lambda frame, _: _weighted(frame, ZeroBasedSkill(n_iter=10).fit(frame)),
    ),
    "gold_majority_vote": _Pair(
        lambda answers, gold: gold_majority_vote(answers, gold=gold),
        lambda frame, gold: _weighted(frame, GoldMajorityVote().fit(frame, gold[gold >= 0])),
    ),
    # Both until they converge; crowd-kit always takes its hundred rounds.
    "kos": _Pair(
        lambda answers, _: kos(answers), lambda frame, _: KOS().fit_predict(frame), options=2
    ),
    # Ours until it converges; crowd-kit by few iterations, which take minutes at full size.
    "glad": _Pair(
        lambda answers, _: glad(answers),
        lambda frame, _: GLAD(n_iter=2).fit_predict(frame),
        least_equal=None,
        share=0.1,
    ),
    "mace": _Pair(
        lambda answers, _: mace(answers),
        lambda frame, _: MACE(n_restarts=1, n_iter=10).fit_predict(frame),
        least_equal=None,
    ),
    # crowd-kit's signs take a matrix of pairs of workers x workers: 30 GB at full size.
    "m_msr": _Pair(
        lambda answers, _: m_msr(answers),
        lambda frame, _: MMSR(n_iter=100).fit_predict(frame),
        least_equal=None,
        share=0.1,
    ),
}


def method_senti(method: str, sizes: Sizes = SENTI, *, repeats: int = 3) -> Result:
    """Seconds of one method of _PAIRS, from index arrays and from a frame.

    correct: probabilities are within 0.001 on 99.9 % of the tasks, where crowd-kit gives any, or
    labels are equal on as many of those that do not tie (99.5 % for wawa); where the iterations are
    not the same, at most 0.1 % of the tasks fewer have the true label.
    """
    pair = _PAIRS[method]
    if pair.share < 1.0:
        sizes = sizes.scaled(round(pair.share * sizes.annotations))
    crowd = draw_crowd(replace(sizes, options=pair.options or sizes.options), seed=1)
    answers, gold = _answers(crowd), _gold(crowd)
    frame = frame_of(answers)
    known = pd.Series(gold)
    timed = alternate(
        lambda: pair.ours(answers, gold), lambda: pair.other(frame, known), repeats=repeats
    )
    result, found = timed.our_result, timed.other_result.sort_index()
    if found.ndim == 2:
        shares = found[list(range(crowd.sizes.options))].to_numpy()
        labels = shares.argmax(axis=1)
        equal = float((np.abs(result.probabilities - shares).max(axis=1) < 1e-3).mean())
    else:
        labels = found.to_numpy()
        no_tie = slice(None) if result.probabilities is None else clear(result.probabilities)
        equal = float((result.label == labels)[no_tie].mean())
    accuracy, other_accuracy = (
        float((said == crowd.true_option).mean()) for said in (result.label, labels)
    )
    return Result(
        benchmark=f"{method}_senti",
        ours=timed.ours,
        other=timed.other,
        ratio=timed.ratio,
        unit="seconds",
        correct=(
            accuracy >= other_accuracy - 0.001
            if pair.least_equal is None
            else equal >= pair.least_equal
        ),
        details={
            "other": "crowd-kit",
            "annotations": sizes.annotations,
            "iterations": result.iterations,
            "equal": equal,
            "accuracy": accuracy,
            "other_accuracy": other_accuracy,
        },
    )


METHOD_BENCHMARKS: dict[str, Callable[[], Result]] = {
    f"{method}_senti": partial(method_senti, method) for method in _PAIRS
}


def _answers(crowd: Crowd) -> Answers:
    sizes = crowd.sizes
    return Answers(
        task_index=crowd.task,
        worker_index=crowd.worker,
        option_index=crowd.option,
        num_tasks=sizes.tasks,
        num_workers=sizes.workers,
        num_options=sizes.options,
    )


def _gold(crowd: Crowd) -> np.ndarray:
    """True options of half of the tasks [T], of which every worker answered one."""
    known = np.arange(crowd.sizes.tasks) % 2 == 0
    known[crowd.task[np.unique(crowd.worker, return_index=True)[1]]] = True
    return np.where(known, crowd.true_option, -1)
