"""Classical methods on real sets, beside the published table and beside Crowd-Kit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import (
    GLAD,
    KOS,
    MACE,
    DawidSkene,
    GoldMajorityVote,
    MajorityVote,
    OneCoinDawidSkene,
    Wawa,
    ZeroBasedSkill,
)

from crowdfm_core.evaluation import (
    LabelledDataset,
    answers_of,
    classical,
    find_datasets,
    measure,
    read_dataset,
)
from crowdfm_core.evaluation.published import read_published_table
from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.dawid_skene import dawid_skene, one_coin_dawid_skene
from crowdfm_core.methods.glad import glad
from crowdfm_core.methods.kos import kos
from crowdfm_core.methods.mace import mace
from crowdfm_core.methods.majority_vote import majority_vote
from crowdfm_core.methods.registry import METHODS
from crowdfm_core.methods.weighted_votes import gold_majority_vote, wawa, zero_based_skill
from tests.core.crowds_for_methods import frame_of, probabilities_of

PUBLISHED = ("MV", "DS", "GLAD", "IBCC", "EBCC", "BWA", "CATD", "PM")


@pytest.mark.parametrize("row", PUBLISHED)
def test_mean_accuracy_is_within_half_a_point_of_the_paper(
    row: str, data_dir: Path, reference_dir: Path
) -> None:
    published = read_published_table(reference_dir / "paper_table3_accuracy.csv")
    datasets = [read_dataset(folder) for folder in find_datasets(data_dir)]
    known = [d for d in datasets if published.accuracy(row, d.name) is not None]
    method = classical(name_of(row))
    mean = 100 * np.mean([measure(d, method, num_seeds=3).accuracy for d in known])
    expected = published.mean(row, [d.name for d in known])
    assert expected is not None
    assert mean > expected - 0.5


def test_bwa_is_the_published_one_where_repeated_answers_are_dropped(
    data_dir: Path, reference_dir: Path
) -> None:
    """The only set where it is not equal to 0.01 points is one with repeated answers."""
    published = read_published_table(reference_dir / "paper_table3_accuracy.csv")
    for folder in find_datasets(data_dir):
        dataset = read_dataset(folder, drop_repeated=True)
        expected = published.accuracy("BWA", dataset.name)
        accuracy = 100 * measure(dataset, classical("bwa")).accuracy
        assert expected is None or accuracy == pytest.approx(expected, abs=0.011)


def name_of(row: str) -> str:
    return next(method.name for method in METHODS.values() if method.short_name == row)


Labels = Callable[[pd.DataFrame, "pd.Series[Any]"], "pd.Series[Any] | None"]


@dataclass(frozen=True)
class Pair:
    """A method here and in Crowd-Kit, and the largest sets on which the latter is fast enough."""

    ours: Callable[[Answers, np.ndarray], MethodResult]
    other: Labels
    max_annotations: int = 100_000
    two_options: bool = False


def _weighted(method: type[Wawa] | type[ZeroBasedSkill]) -> Labels:
    def labels(frame: pd.DataFrame, _: pd.Series[Any]) -> pd.Series[Any] | None:
        return MajorityVote().fit(frame, skills=method().fit(frame).skills_).labels_

    return labels


def _with_gold(frame: pd.DataFrame, gold: pd.Series[Any]) -> pd.Series[Any] | None:
    skills = GoldMajorityVote().fit(frame, gold).skills_
    assert skills is not None
    everybody = pd.Index(frame.worker.unique(), name="worker")
    right = frame.label == frame.task.map(gold)
    pooled = right[frame.task.isin(gold.index)].mean()  # Crowd-Kit refuses workers without gold
    return MajorityVote().fit(frame, skills=skills.reindex(everybody).fillna(pooled)).labels_


ROUNDS: dict[str, Any] = {"max_iterations": 20, "tolerance": -np.inf}
PAIRS = {
    "majority_vote": Pair(
        lambda a, _: majority_vote(a), lambda f, _: MajorityVote().fit(f).labels_
    ),
    "dawid_skene": Pair(
        lambda a, _: dawid_skene(a, **ROUNDS),
        lambda f, _: DawidSkene(n_iter=20, tol=-np.inf).fit(f).labels_,
    ),
    "one_coin_dawid_skene": Pair(
        lambda a, _: one_coin_dawid_skene(a, **ROUNDS),
        lambda f, _: OneCoinDawidSkene(n_iter=20, tol=-np.inf).fit(f).labels_,
    ),
    "wawa": Pair(lambda a, _: wawa(a), _weighted(Wawa)),
    "zero_based_skill": Pair(lambda a, _: zero_based_skill(a), _weighted(ZeroBasedSkill)),
    # On Trec, the largest set, messages of some task cancel, and Crowd-Kit ends with a KeyError.
    "kos": Pair(lambda a, _: kos(a), lambda f, _: KOS().fit(f).labels_, 50_000, two_options=True),
    "mace": Pair(
        lambda a, _: mace(a), lambda f, _: MACE(n_restarts=1, n_iter=250).fit(f).labels_, 10_000
    ),
    "glad": Pair(
        lambda a, _: glad(a), lambda f, _: GLAD(n_iter=30, tol=-np.inf).fit(f).labels_, 2_600
    ),
    "gold_majority_vote": Pair(lambda a, gold: gold_majority_vote(a, gold=gold), _with_gold),
}
# A class that a worker was never seen to meet has rates of 1 / (options that the worker used) in
# Crowd-Kit, of 1 / K here; with four answers a worker that decides some tasks.
SPARSE = ("dawid_skene", "CF")


@pytest.mark.parametrize("name", PAIRS)
def test_labels_agree_with_crowd_kit_outside_ties(name: str, data_dir: Path) -> None:
    """Ties of the vote are left out too: Crowd-Kit gives them to one option, and the weights of
    Wawa and of zero-based skill follow from that."""
    pair, compared = PAIRS[name], 0
    for folder in find_datasets(data_dir):
        dataset = read_dataset(folder)
        if pair.two_options and len(dataset.options) != 2:
            continue
        answers = named_by_appearance(answers_of(dataset))
        if len(answers.task_index) > pair.max_annotations:
            continue
        gold = half_of_the_gold(dataset)
        known = pd.Series(gold[gold >= 0], index=np.flatnonzero(gold >= 0))
        other = pair.other(frame_of(answers), known)
        assert other is not None
        result = pair.ours(answers, gold)
        clear = margin(answers.votes()) > 0.5
        if result.probabilities is not None:
            clear &= margin(probabilities_of(result)) > 1e-6
        agreement = (result.label == other.sort_index().to_numpy())[clear].mean()
        least = 0.98 if (name, dataset.name) == SPARSE else 0.995
        assert agreement >= least, f"{dataset.name}: {agreement}"
        compared += 1
    assert compared > 0


def named_by_appearance(answers: Answers) -> Answers:
    """MACE of Crowd-Kit mixes two orders of the options, which this makes one."""
    return replace(
        answers,
        worker_index=pd.factorize(answers.worker_index)[0].astype(np.int32),
        option_index=pd.factorize(answers.option_index)[0].astype(np.int32),
    )


def half_of_the_gold(dataset: LabelledDataset) -> np.ndarray:
    """Gold, as options by appearance, of tasks at even places."""
    truth = dataset.true_option()
    by_appearance = pd.unique(answers_of(dataset).option_index)
    renamed = np.full(len(dataset.options) + 1, -1)
    renamed[by_appearance] = np.arange(len(by_appearance))
    return np.where(np.arange(len(truth)) % 2 == 0, renamed[truth], -1)


def margin(values: np.ndarray) -> np.ndarray:
    """Largest minus second value of every row."""
    return np.asarray(np.ptp(np.sort(values, axis=1)[:, -2:], axis=1))
