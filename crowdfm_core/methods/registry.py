"""Every method by name: its paper, what it returns, what it needs, and the function that runs it.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from typing import Any

from crowdfm_core.errors import ScoringError
from crowdfm_core.methods.answers import Answers, Gold, MethodResult
from crowdfm_core.methods.bcc import ebcc, ibcc
from crowdfm_core.methods.bwa import bwa
from crowdfm_core.methods.dawid_skene import dawid_skene, one_coin_dawid_skene
from crowdfm_core.methods.dawid_skene_clustered import dawid_skene_clustered
from crowdfm_core.methods.descriptions import (
    CROWDFM,
    Method,
    MethodDescription,
    with_confusions,
    with_pairs,
    with_subtypes,
    without_matrices,
)
from crowdfm_core.methods.glad import glad
from crowdfm_core.methods.kos import kos
from crowdfm_core.methods.m_msr import m_msr
from crowdfm_core.methods.mace import mace
from crowdfm_core.methods.majority_vote import majority_vote, naive_soft, twothird
from crowdfm_core.methods.plantnet import plantnet
from crowdfm_core.methods.weighted_votes import (
    catd,
    gold_majority_vote,
    iwmv,
    pm,
    wawa,
    weighted_dawid_skene,
    zero_based_skill,
)

__all__ = [
    "CROWDFM",
    "DEFAULT_MAX_BYTES",
    "METHODS",
    "Method",
    "MethodDescription",
    "aggregate",
    "takes_gold",
]

DEFAULT_MAX_BYTES = 4 << 30

_POSTERIOR = "posterior"
_VOTE_SHARE = "share of votes"
_WEIGHTED_SHARE = "share of weighted votes"


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="majority_vote",
            short_name="MV",
            paper="none; the label with the most votes",
            probabilities=_VOTE_SHARE,
            worker_score="agreement with the label, 0 to 1",
            numbers=without_matrices,
            run=majority_vote,
        ),
        Method(
            name="naive_soft",
            short_name="NaiveSoft",
            paper="none; the distribution of a task's answers, peerannot",
            probabilities=_VOTE_SHARE,
            worker_score="mean share of the worker's own answers, 0 to 1",
            numbers=without_matrices,
            run=naive_soft,
        ),
        Method(
            name="twothird",
            short_name="TwoThird",
            paper="none; the label of two thirds of at least two answers, peerannot",
            probabilities=_VOTE_SHARE,
            worker_score="agreement with the labels that there are, 0 to 1",
            numbers=without_matrices,
            run=twothird,
            abstains=True,
        ),
        Method(
            name="dawid_skene",
            short_name="DS",
            paper="Dawid and Skene, Applied Statistics 28, 1979",
            probabilities=_POSTERIOR,
            worker_score="expected accuracy under the class priors, 0 to 1",
            numbers=with_confusions,
            run=dawid_skene,
            uses_gold=True,
        ),
        Method(
            name="weighted_dawid_skene",
            short_name="WDS",
            paper="none; votes weighted by Dawid and Skene's model, peerannot",
            probabilities=_WEIGHTED_SHARE,
            worker_score="expected accuracy under the class priors, 0 to 1",
            numbers=with_confusions,
            run=weighted_dawid_skene,
            uses_gold=True,
        ),
        Method(
            name="dawid_skene_clustered",
            short_name="clustered DS",
            paper="Imamura, Sato and Sugiyama, ICML 2018",
            probabilities=_POSTERIOR,
            worker_score="expected accuracy under the class priors, 0 to 1",
            numbers=with_confusions,
            run=dawid_skene_clustered,
            uses_gold=True,
        ),
        Method(
            name="one_coin_dawid_skene",
            short_name="one-coin DS",
            paper="Zhang, Chen, Zhou and Jordan, JMLR 17, 2016",
            probabilities=_POSTERIOR,
            worker_score="accuracy, 0 to 1",
            numbers=without_matrices,
            run=one_coin_dawid_skene,
            uses_gold=True,
        ),
        Method(
            name="glad",
            short_name="GLAD",
            paper="Whitehill, Ruvolo, Wu, Bergsma and Movellan, NIPS 2009",
            probabilities=_POSTERIOR,
            worker_score="ability, on the real line",
            numbers=without_matrices,
            run=glad,
            uses_gold=True,
        ),
        Method(
            name="ibcc",
            short_name="IBCC",
            paper="Kim and Ghahramani, AISTATS 2012",
            probabilities=_POSTERIOR,
            worker_score="expected accuracy under the class frequencies, 0 to 1",
            numbers=with_confusions,
            run=ibcc,
            uses_gold=True,
        ),
        Method(
            name="ebcc",
            short_name="EBCC",
            paper="Li, Rubinstein and Cohn, ICML 2019",
            probabilities=_POSTERIOR,
            worker_score="expected accuracy under the class frequencies, 0 to 1",
            numbers=with_subtypes,
            run=ebcc,
            uses_seed=True,
            uses_gold=True,
        ),
        Method(
            name="bwa",
            short_name="BWA",
            paper="Li, Rubinstein and Cohn, WWW 2019",
            probabilities="weighted averages, divided by their sum",
            worker_score="precision, above 0",
            numbers=without_matrices,
            run=bwa,
        ),
        Method(
            name="mace",
            short_name="MACE",
            paper="Hovy, Berg-Kirkpatrick, Vaswani and Hovy, NAACL 2013",
            probabilities=_POSTERIOR,
            worker_score="probability of knowing the answer, 0 to 1",
            numbers=without_matrices,
            run=mace,
            uses_seed=True,
            uses_gold=True,
        ),
        Method(
            name="catd",
            short_name="CATD",
            paper="Li, Li, Gao, Su, Zhao, Demirbas, Fan and Han, VLDB 2014",
            probabilities=_WEIGHTED_SHARE,
            worker_score="weight, above 0",
            numbers=without_matrices,
            run=catd,
        ),
        Method(
            name="pm",
            short_name="PM",
            paper="Li, Li, Gao, Zhao, Fan and Han, SIGMOD 2014 (CRH)",
            probabilities=_WEIGHTED_SHARE,
            worker_score="weight, above 0",
            numbers=without_matrices,
            run=pm,
        ),
        Method(
            name="wawa",
            short_name="Wawa",
            paper="none; worker agreement with aggregate, Appen and Crowd-Kit",
            probabilities=_WEIGHTED_SHARE,
            worker_score="agreement with the majority label, 0 to 1",
            numbers=without_matrices,
            run=wawa,
        ),
        Method(
            name="zero_based_skill",
            short_name="ZBS",
            paper="none; Toloka and Crowd-Kit",
            probabilities=_WEIGHTED_SHARE,
            worker_score="agreement with the weighted label, 0 to 1",
            numbers=without_matrices,
            run=zero_based_skill,
        ),
        Method(
            name="iwmv",
            short_name="IWMV",
            paper="Li and Yu, arXiv 1411.4086, 2014",
            probabilities=_WEIGHTED_SHARE,
            worker_score="agreement with the weighted label, 0 to 1",
            numbers=without_matrices,
            run=iwmv,
        ),
        Method(
            name="gold_majority_vote",
            short_name="Gold MV",
            paper="none; votes weighted by accuracy on gold tasks, Crowd-Kit",
            probabilities=_WEIGHTED_SHARE,
            worker_score="accuracy on gold tasks, 0 to 1",
            numbers=without_matrices,
            run=gold_majority_vote,
            uses_gold=True,
            needs_gold=True,
            undefined_on="projects without an annotation of a gold task",
        ),
        Method(
            name="plantnet",
            short_name="PlantNet",
            paper="Lefort et al., Methods in Ecology and Evolution, 2024",
            probabilities=_WEIGHTED_SHARE,
            worker_score="weight by number of options identified, above 0",
            numbers=without_matrices,
            run=plantnet,
        ),
        Method(
            name="kos",
            short_name="KOS",
            paper="Karger, Oh and Shah, NIPS 2011",
            probabilities="none",
            worker_score="mean agreement with messages, on the real line",
            numbers=without_matrices,
            run=kos,
            uses_seed=True,
            undefined_on="projects with other than two options",
        ),
        Method(
            name="m_msr",
            short_name="M-MSR",
            paper="Ma and Olshevsky, NeurIPS 2020",
            probabilities=_POSTERIOR,
            worker_score="accuracy, 0 to 1",
            numbers=with_pairs,
            run=m_msr,
            undefined_on="projects with one option, with one task, or whose workers share no task",
        ),
    )
}


def takes_gold(name: str, *, pin_posteriors: bool) -> bool:
    """Whether a run in which truth is known tells it to the method `name`.

    One that needs gold always gets it; those that could do without only where their posteriors are
    to be pinned to it.
    """
    method = METHODS.get(name)
    return method is not None and (method.needs_gold or (method.uses_gold and pin_posteriors))


def aggregate(
    name: str,
    answers: Answers,
    *,
    seed: int = 0,
    max_bytes: int = DEFAULT_MAX_BYTES,
    gold: Gold = None,
) -> MethodResult:
    """Run the method `name` on one project; equal answers, seeds and gold give equal results.

    gold [T]: the true option_index of each task, -1 where it is unknown; None for no gold. It is
    checked for every method and used by those with `uses_gold`.

    Raises ScoringError for an unknown name or wrong gold, and before anything is allocated where
    the method's arrays would take more than `max_bytes`; UndefinedMethodError, one of its kind,
    where the method has no meaning on the project, as its `undefined_on` says.
    """
    if name not in METHODS:
        raise ScoringError(f"expected a method of {', '.join(METHODS)}, got {name!r}")
    method = METHODS[name]
    answers.known_options(gold)
    size = 8 * method.numbers(answers)
    if size > max_bytes:
        lean = [
            other.name
            for other in METHODS.values()
            if 8 * other.numbers(answers) <= max_bytes and not other.undefined_on
        ]
        instead = f"use {', '.join(lean)}, or raise" if lean else "raise"
        raise ScoringError(
            f"{name}: {answers.num_tasks} tasks, {answers.num_workers} workers and "
            f"{answers.num_options} options need {size / 2**30:.1f} GiB, "
            f"the limit is {max_bytes / 2**30:.1f} GiB; {instead} max_bytes"
        )
    keywords: dict[str, Any] = {}
    if method.uses_seed:
        keywords["seed"] = seed
    if method.uses_gold:
        keywords["gold"] = gold
    return method.run(answers, **keywords)
