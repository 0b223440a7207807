"""Every method by name: its paper, what it returns, what it needs, and the function that runs it.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crowdfm_core.errors import ScoringError
from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.bcc import EBCC_SUBTYPES, ebcc, ibcc
from crowdfm_core.methods.bwa import bwa
from crowdfm_core.methods.dawid_skene import dawid_skene, one_coin_dawid_skene
from crowdfm_core.methods.glad import glad
from crowdfm_core.methods.mace import mace
from crowdfm_core.methods.majority_vote import majority_vote
from crowdfm_core.methods.weighted_votes import catd, pm, wawa, zero_based_skill

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
_WEIGHTED_SHARE = "share of weighted votes"


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
    nodes = 4 * answers.num_tasks + 3 * answers.num_workers
    return nodes * answers.num_options + 6 * len(answers.task_index)


def _with_confusions(answers: Answers) -> int:
    return _without_matrices(answers) + 3 * answers.num_workers * answers.num_options**2


def _with_subtypes(answers: Answers) -> int:
    of_workers = 2 * answers.num_workers * answers.num_options**2
    of_tasks = 3 * answers.num_tasks * answers.num_options
    return _without_matrices(answers) + EBCC_SUBTYPES * (of_workers + of_tasks)


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
        Method(
            name="ibcc",
            short_name="IBCC",
            paper="Kim and Ghahramani, AISTATS 2012",
            probabilities=_POSTERIOR,
            worker_score="expected accuracy under the class frequencies, 0 to 1",
            numbers=_with_confusions,
            run=ibcc,
        ),
        Method(
            name="ebcc",
            short_name="EBCC",
            paper="Li, Rubinstein and Cohn, ICML 2019",
            probabilities=_POSTERIOR,
            worker_score="expected accuracy under the class frequencies, 0 to 1",
            numbers=_with_subtypes,
            run=ebcc,
            uses_seed=True,
        ),
        Method(
            name="bwa",
            short_name="BWA",
            paper="Li, Rubinstein and Cohn, WWW 2019",
            probabilities="weighted averages, divided by their sum",
            worker_score="precision, above 0",
            numbers=_without_matrices,
            run=bwa,
        ),
        Method(
            name="mace",
            short_name="MACE",
            paper="Hovy, Berg-Kirkpatrick, Vaswani and Hovy, NAACL 2013",
            probabilities=_POSTERIOR,
            worker_score="probability of knowing the answer, 0 to 1",
            numbers=_without_matrices,
            run=mace,
            uses_seed=True,
        ),
        Method(
            name="catd",
            short_name="CATD",
            paper="Li, Li, Gao, Su, Zhao, Demirbas, Fan and Han, VLDB 2014",
            probabilities=_WEIGHTED_SHARE,
            worker_score="weight, above 0",
            numbers=_without_matrices,
            run=catd,
        ),
        Method(
            name="pm",
            short_name="PM",
            paper="Li, Li, Gao, Zhao, Fan and Han, SIGMOD 2014 (CRH)",
            probabilities=_WEIGHTED_SHARE,
            worker_score="weight, above 0",
            numbers=_without_matrices,
            run=pm,
        ),
        Method(
            name="wawa",
            short_name="Wawa",
            paper="none; worker agreement with aggregate, Appen and Crowd-Kit",
            probabilities=_WEIGHTED_SHARE,
            worker_score="agreement with the majority label, 0 to 1",
            numbers=_without_matrices,
            run=wawa,
        ),
        Method(
            name="zero_based_skill",
            short_name="ZBS",
            paper="none; Toloka and Crowd-Kit",
            probabilities=_WEIGHTED_SHARE,
            worker_score="agreement with the weighted label, 0 to 1",
            numbers=_without_matrices,
            run=zero_based_skill,
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
