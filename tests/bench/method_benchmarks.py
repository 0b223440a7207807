"""Classical methods against crowd-kit, on the same answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import DawidSkene, MajorityVote

from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.dawid_skene import dawid_skene
from crowdfm_core.methods.majority_vote import majority_vote
from tests.bench.crowds import SENTI, Crowd, Sizes, draw_crowd
from tests.bench.harness import Result, alternate

__all__ = ["dawid_skene_senti", "majority_vote_senti"]

_ITERATIONS = 10


def dawid_skene_senti(sizes: Sizes = SENTI, *, repeats: int = 3) -> Result:
    """Seconds of ten iterations of Dawid-Skene, from index arrays and from a frame.

    correct: labels equal on at least 99.9 % of the tasks. crowd-kit's first step already updates
    the confusion matrices from vote shares, so that both have done ten E-steps.
    """

    def ours(answers: Answers) -> MethodResult:
        # Below any change, so that it never ends early.
        return dawid_skene(answers, max_iterations=_ITERATIONS, tolerance=-np.inf)

    def other(frame: pd.DataFrame) -> Any:
        return DawidSkene(n_iter=_ITERATIONS, tol=-np.inf).fit_predict_proba(frame)

    return _against_crowd_kit("dawid_skene_senti", sizes, ours, other, repeats)


def majority_vote_senti(sizes: Sizes = SENTI, *, repeats: int = 3) -> Result:
    """Seconds of majority voting; correct: labels equal wherever votes do not tie."""
    return _against_crowd_kit(
        "majority_vote_senti",
        sizes,
        majority_vote,
        lambda frame: MajorityVote().fit_predict_proba(frame),
        repeats,
    )


def _against_crowd_kit(
    benchmark: str,
    sizes: Sizes,
    ours: Callable[[Answers], MethodResult],
    other: Callable[[pd.DataFrame], Any],
    repeats: int,
) -> Result:
    crowd = draw_crowd(sizes, seed=1)
    answers, frame = _answers(crowd), _frame(crowd)
    timed = alternate(lambda: ours(answers), lambda: other(frame), repeats=repeats)
    shares = timed.other_result.sort_index()[list(range(sizes.options))].to_numpy()
    difference = np.abs(timed.our_result.probabilities - shares).max(axis=1)
    close = float((difference < 1e-3).mean())
    return Result(
        benchmark=benchmark,
        ours=timed.ours,
        other=timed.other,
        ratio=timed.ratio,
        unit="seconds",
        correct=close >= 0.999,
        details={
            "other": "crowd-kit",
            "annotations": sizes.annotations,
            "tasks_with_probabilities_within_0.001": close,
        },
    )


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
