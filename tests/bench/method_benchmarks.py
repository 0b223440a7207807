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
    """A method on index arrays, and crowd-kit's on a frame, which gives labels by task.

    Both take the option_index of the tasks with gold, -1 elsewhere. same: whether they are one
    algorithm with as many iterations, so that labels must be equal; else crowd-kit's is cut short,
    and must not be the more accurate one. options: None for as many as the crowd has. share: of the
    crowd's sizes, where crowd-kit cannot do more.
    """

    ours: Callable[[Answers, np.ndarray], MethodResult]
    other: Callable[[pd.DataFrame, pd.Series[Any]], Any]
    same: bool = True
    options: int | None = None
    share: float = 1.0


_PAIRS = {
    "dawid_skene": _Pair(
        lambda answers, _: dawid_skene(answers, **_TEN),
        lambda frame, _: DawidSkene(**_TEN_THERE).fit_predict(frame),
    ),
    "one_coin_dawid_skene": _Pair(
        lambda answers, _: one_coin_dawid_skene(answers, **_TEN),
        lambda frame, _: OneCoinDawidSkene(**_TEN_THERE).fit_predict(frame),
    ),
    "majority_vote": _Pair(
        lambda answers, _: majority_vote(answers),
        lambda frame, _: MajorityVote().fit_predict(frame),
    ),
    "wawa": _Pair(
        lambda answers, _: wawa(answers), lambda frame, _: _weighted(frame, Wawa().fit(frame))
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
        same=False,
        share=0.1,
    ),
    "mace": _Pair(
        lambda answers, _: mace(answers),
        lambda frame, _: MACE(n_restarts=1, n_iter=10).fit_predict(frame),
        same=False,
    ),
    # crowd-kit's signs take a matrix of pairs of workers x workers: 30 GB at full size.
    "m_msr": _Pair(
        lambda answers, _: m_msr(answers),
        lambda frame, _: MMSR(n_iter=100).fit_predict(frame),
        same=False,
        share=0.1,
    ),
}


def method_senti(method: str, sizes: Sizes = SENTI, *, repeats: int = 3) -> Result:
    """Seconds of one method of _PAIRS, from index arrays and from a frame.

    correct: labels are equal on at least 99.5 % of the tasks whose first two probabilities differ,
    or where the iterations are not the same, at most 0.1 % of the tasks fewer have the true label.
    """
    pair = _PAIRS[method]
    if pair.share < 1.0:
        sizes = sizes.scaled(round(pair.share * sizes.annotations))
    crowd = draw_crowd(replace(sizes, options=pair.options or sizes.options), seed=1)
    answers, frame, gold = _answers(crowd), _frame(crowd), _gold(crowd)
    known = pd.Series(gold)
    timed = alternate(
        lambda: pair.ours(answers, gold), lambda: pair.other(frame, known), repeats=repeats
    )
    result, labels = timed.our_result, timed.other_result.sort_index().to_numpy()
    equal = float((result.label == labels)[_is_clear(result)].mean())
    accuracy, other_accuracy = (
        float((found == crowd.true_option).mean()) for found in (result.label, labels)
    )
    return Result(
        benchmark=f"{method}_senti",
        ours=timed.ours,
        other=timed.other,
        ratio=timed.ratio,
        unit="seconds",
        correct=equal >= 0.995 if pair.same else accuracy >= other_accuracy - 0.001,
        details={
            "other": "crowd-kit",
            "annotations": sizes.annotations,
            "iterations": result.iterations,
            "equal_labels": equal,
            "accuracy": accuracy,
            "other_accuracy": other_accuracy,
        },
    )


METHOD_BENCHMARKS: dict[str, Callable[[], Result]] = {
    f"{method}_senti": partial(method_senti, method) for method in _PAIRS
}


def _is_clear(result: MethodResult) -> np.ndarray:
    """Tasks [T] whose label is no tie; all of them for a method without probabilities."""
    if result.probabilities is None:
        return np.ones(len(result.label), np.bool_)
    ranked = np.sort(result.probabilities, axis=1)
    return np.asarray(ranked[:, -1] - ranked[:, -2] > 1e-6)


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


def _frame(crowd: Crowd) -> pd.DataFrame:
    return pd.DataFrame({"task": crowd.task, "worker": crowd.worker, "label": crowd.option})


def _gold(crowd: Crowd) -> np.ndarray:
    """True options of half of the tasks [T], of which every worker answered one."""
    known = np.arange(crowd.sizes.tasks) % 2 == 0
    known[crowd.task[np.unique(crowd.worker, return_index=True)[1]]] = True
    return np.where(known, crowd.true_option, -1)
