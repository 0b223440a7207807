"""What the registry knows of a method, and how much memory methods take.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crowdfm_core.methods.answers import Answers, MethodResult
from crowdfm_core.methods.bcc import EBCC_SUBTYPES
from crowdfm_core.methods.m_msr import num_pairs_at_most

__all__ = [
    "CROWDFM",
    "Method",
    "MethodDescription",
    "with_confusions",
    "with_pairs",
    "with_subtypes",
    "without_matrices",
]


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

    numbers: how many float64 the large arrays of a run hold. uses_seed, uses_gold: whether `run`
    takes a keyword `seed` or `gold` that changes the result; needs_gold: whether it says nothing
    without gold. abstains: whether the label of a task with annotations can be -1. undefined_on:
    the projects on which `run` raises UndefinedMethodError, in words; empty where there are none.
    """

    numbers: Callable[[Answers], int]
    run: Callable[..., MethodResult]
    uses_seed: bool = False
    uses_gold: bool = False
    needs_gold: bool = False
    abstains: bool = False
    undefined_on: str = ""


# Frozen weights are scored in crowdfm_core.scoring; they stand here as one more method.
CROWDFM = MethodDescription(
    name="crowdfm",
    short_name="CrowdFM",
    paper="Towards a Foundation Model for Crowdsourced Label Aggregation, ICLR 2026, and the "
    "architecture that the weights' manifest names",
    probabilities="posterior of the frozen model",
    worker_score="mean probability of the worker's own answers, 0 to 1",
)


def without_matrices(answers: Answers) -> int:
    """Per task and option, per worker and option, and per annotation."""
    nodes = 4 * answers.num_tasks + 3 * answers.num_workers
    return nodes * answers.num_options + 6 * len(answers.task_index)


def with_confusions(answers: Answers) -> int:
    """And a confusion matrix per worker."""
    return without_matrices(answers) + 3 * answers.num_workers * answers.num_options**2


def with_subtypes(answers: Answers) -> int:
    """And a confusion matrix per worker and subtype."""
    of_workers = 3 * answers.num_workers * answers.num_options**2
    return without_matrices(answers) + EBCC_SUBTYPES * of_workers


def with_pairs(answers: Answers) -> int:
    """And every pair of workers who share a task."""
    return without_matrices(answers) + 3 * num_pairs_at_most(answers)
