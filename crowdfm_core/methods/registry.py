"""Every method by name: its paper, what it returns, what it needs, and the function that runs it.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crowdfm_core.errors import ScoringError
from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.dawid_skene import dawid_skene, one_coin_dawid_skene
from crowdfm_core.methods.glad import glad
from crowdfm_core.methods.majority_vote import majority_vote

__all__ = [
    "CROWDFM",
    "DEFAULT_MAX_BYTES",
    "METHODS",
    "Method",
    "MethodDescription",
    "aggregate",
]

DEFAULT_MAX_BYTES = 4 << 30

_POSTERIOR = "posterior"
_VOTE_SHARE = "share of votes"


@dataclass(frozen=True, kw_only=True)
class MethodDescription:
    """A method of aggregation in words.

    short_name is the one in tables of papers. probabilities and worker_score say what a result
    holds.
    """

    name: str
    short_name: str
    paper: str
    probabilities: str
    worker_score: str


@dataclass(frozen=True, kw_only=True)
class Method(MethodDescription):
    """A classical method on arrays, and how to run it.

    numbers: how many float64 the large arrays of a run hold. uses_seed: whether `run` takes a
    keyword `seed` that changes the result.
    """

    numbers: Callable[[Answers], int]
    run: Callable[..., MethodResult]
    uses_seed: bool = False


# Frozen weights are scored in crowdfm_core.scoring; they stand here as one more method.
CROWDFM = MethodDescription(
    name="crowdfm",
    short_name="CrowdFM",
    paper="Towards a Foundation Model for Crowdsourced Label Aggregation, ICLR 2026, and the "
    "architecture that the weights' manifest names",
    probabilities="posterior of the frozen model",
    worker_score="mean probability of the worker's own answers, 0 to 1",
)


def _without_matrices(answers: Answers) -> int:
    rows, options = len(answers.task_index), answers.num_options
    return 4 * answers.num_tasks * options + 4 * rows


def _with_confusions(answers: Answers) -> int:
    return _without_matrices(answers) + 3 * answers.num_workers * answers.num_options**2


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="majority_vote",
            short_name="MV",
            paper="none; the label with the most votes",
            probabilities=_VOTE_SHARE,
            worker_score="agreement with the label, 0 to 1",
            numbers=_without_matrices,
            run=majority_vote,
        ),
        Method(
            name="dawid_skene",
            short_name="DS",
            paper="Dawid and Skene, Applied Statistics 28, 1979",
            probabilities=_POSTERIOR,
            worker_score="expected accuracy under the class priors, 0 to 1",
            numbers=_with_confusions,
            run=dawid_skene,
        ),
        Method(
            name="one_coin_dawid_skene",
            short_name="one-coin DS",
            paper="Zhang, Chen, Zhou and Jordan, JMLR 17, 2016",
            probabilities=_POSTERIOR,
            worker_score="accuracy, 0 to 1",
            numbers=_without_matrices,
            run=one_coin_dawid_skene,
        ),
        Method(
            name="glad",
            short_name="GLAD",
            paper="Whitehill, Ruvolo, Wu, Bergsma and Movellan, NIPS 2009",
            probabilities=_POSTERIOR,
            worker_score="ability, on the real line",
            numbers=_without_matrices,
            run=glad,
        ),
    )
}


def aggregate(
    name: str, answers: Answers, *, seed: int = 0, max_bytes: int = DEFAULT_MAX_BYTES
) -> MethodResult:
    """Run the method `name` on one project; equal answers and seeds give equal results.

    Raises ScoringError for an unknown name, and before anything is allocated where the method's
    arrays would take more than `max_bytes`.
    """
    if name not in METHODS:
        raise ScoringError(f"expected a method of {', '.join(METHODS)}, got {name!r}")
    method = METHODS[name]
    size = 8 * method.numbers(answers)
    if size > max_bytes:
        lean = [other.name for other in METHODS.values() if 8 * other.numbers(answers) <= max_bytes]
        instead = f"use {', '.join(lean)}, or raise" if lean else "raise"
        raise ScoringError(
            f"{name}: {answers.num_tasks} tasks, {answers.num_workers} workers and "
            f"{answers.num_options} options need {size / 2**30:.1f} GiB, "
            f"the limit is {max_bytes / 2**30:.1f} GiB; {instead} max_bytes"
        )
    return method.run(answers, seed=seed) if method.uses_seed else method.run(answers)
