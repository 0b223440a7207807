"""Runs a classical method on every project of a batch: index arrays in, index arrays out.

A project is the unit, not a component of it: class priors, the number of options, the mean of
values and the largest error rate belong to the whole project, so that its parts cannot be fitted
apart. Letters: E annotations, T tasks, W workers, K options, P projects, C candidates, which are
pairs of a task and one of the options that are listed for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.label_kernels import label_candidates
from crowdfm_core.errors import ScoringError
from crowdfm_core.methods.answers import Answers, Gold, MethodResult
from crowdfm_core.methods.registry import DEFAULT_MAX_BYTES, aggregate
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch

__all__ = ["LEAST_LISTED", "AggregatedBatch", "ProjectFit", "aggregate_batch", "project_seed"]

# Options less probable than this are not listed. It is also how close probabilities are in a tie.
LEAST_LISTED = 1e-9

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ProjectFit:
    """How a method went on one project: with a problem there is no result."""

    iterations: int | None
    converged: bool | None
    problem: str | None


@dataclass(frozen=True)
class AggregatedBatch:
    """Results of a batch; those of a project with a problem are without meaning.

    In `scored` difficulty and ability are NaN, and so are probability, entropy and
    expected_accuracy where the method has no probabilities; then no option is listed. What stands
    for the label of a task without one, on which the method abstains, is the most probable option;
    agreement_with_aggregate is of the answers to tasks with a label, NaN without any.
    """

    scored: ScoredBatch
    has_label: npt.NDArray[np.bool_]  # [T]
    worker_score: Floats  # [W]
    fits: list[ProjectFit]  # [P]


def project_seed(method: str, project_id: str) -> int:
    """Seed of a method's random start: a function of method and project alone, in [0, 2**32)."""
    identity = json.dumps([method, project_id]).encode()
    return int.from_bytes(hashlib.sha256(identity).digest()[:4])


def aggregate_batch(
    method: str,
    batch: AnnotationBatch,
    *,
    max_probabilities: int,
    max_bytes: int = DEFAULT_MAX_BYTES,
    gold: Gold = None,
) -> AggregatedBatch:
    """Run `method` on each project of the batch, whose rows, tasks and workers go by project.

    max_probabilities: options listed per task; max_bytes: of a method's arrays on one project;
    gold [T]: the true option_index of each task of the batch, -1 where it is unknown. A project on
    which the method is undefined, or too large, has a problem and leaves the others alone. Raises
    ScoringError where projects are mixed.
    """
    ends = np.cumsum(np.bincount(batch.task_project, minlength=len(batch.project_ids)))
    golds = [None] * len(ends) if gold is None else np.split(gold, ends[:-1])
    results = [
        _run(method, project, answers, known, max_bytes)
        for project, answers, known in zip(batch.project_ids, _projects(batch), golds, strict=True)
    ]
    per_task, option, probability = (
        np.concatenate(parts)
        for parts in zip(*(_candidates(result) for result in results), strict=True)
    )
    known = np.concatenate(
        [np.full(len(result.label), result.probabilities is not None) for result in results]
    )
    top_offsets = _offsets(np.where(known, np.minimum(per_task, max_probabilities), 0))
    label, runner_up, p, runner_up_p, entropy, top, top_p, _ = label_candidates(
        probability,
        _offsets(per_task),
        option,
        # Without answers: their own probabilities are at hand.
        np.zeros(len(per_task) + 1, np.int32),
        np.zeros(0, np.int32),
        np.zeros(1, np.int32),
        top_offsets,
    )
    has_label = np.concatenate([result.label >= 0 for result in results])
    is_counted = has_label[batch.task_index]
    agrees = is_counted & (batch.option_index == label[batch.task_index])

    def per_worker(values: npt.NDArray[Any]) -> Floats:
        total: Floats = np.bincount(batch.worker_index, values, batch.num_workers).astype(float)
        return total

    num_annotations = np.bincount(batch.worker_index, minlength=batch.num_workers)
    num_counted = per_worker(is_counted)
    agreement = np.full(batch.num_workers, np.nan)
    np.divide(per_worker(agrees), num_counted, out=agreement, where=num_counted > 0)

    return AggregatedBatch(
        scored=ScoredBatch(
            label_index=label,
            probability=np.where(known, p, np.nan),
            runner_up_index=runner_up,
            runner_up_probability=runner_up_p,
            entropy=np.where(known, entropy, np.nan),
            difficulty=np.full(len(per_task), np.nan),
            top_offsets=top_offsets,
            top_option_index=top,
            top_probability=top_p,
            ability=np.full(batch.num_workers, np.nan),
            expected_accuracy=per_worker(np.concatenate([result.own for result in results]))
            / num_annotations,
            agreement_with_aggregate=agreement,
            num_annotations=num_annotations,
        ),
        has_label=has_label,
        worker_score=np.concatenate([result.worker_score for result in results]),
        fits=[result.fit for result in results],
    )


@dataclass(frozen=True)
class _Result:
    """Of one project; own: the probability of each given answer."""

    probabilities: Floats | None  # [T, K]
    label: Integers  # [T]
    own: Floats  # [E]
    worker_score: Floats  # [W]
    fit: ProjectFit


def _run(method: str, project: str, answers: Answers, gold: Gold, max_bytes: int) -> _Result:
    seed = project_seed(method, project)
    try:
        result = aggregate(method, answers, seed=seed, max_bytes=max_bytes, gold=gold)
        _check_numbers(method, result)
    except (ScoringError, MemoryError) as error:
        return _Result(
            probabilities=None,
            label=np.zeros(answers.num_tasks, np.int32),
            own=np.full(len(answers.task_index), np.nan),
            worker_score=np.full(answers.num_workers, np.nan),
            fit=ProjectFit(None, None, str(error) or f"{method}: out of memory"),
        )
    own = (
        np.full(len(answers.task_index), np.nan)
        if result.probabilities is None
        else answers.own_values(result.probabilities)
    )
    return _Result(
        result.probabilities,
        result.label,
        own,
        result.worker_score,
        ProjectFit(result.iterations, result.converged, None),
    )


def _check_numbers(method: str, result: MethodResult) -> None:
    if result.probabilities is not None and not np.isfinite(result.probabilities).all():
        raise ScoringError(f"{method}: expected finite probabilities, got some that are not")


def _candidates(result: _Result) -> tuple[Integers, Integers, Floats]:
    """Candidates per task [T], their options [C], ascending in a task, and probabilities [C]."""
    if result.probabilities is None:
        tasks = len(result.label)
        return np.ones(tasks, np.int64), result.label.astype(np.int32), np.ones(tasks)
    p = result.probabilities
    best = p.max(axis=1, keepdims=True)
    # Rounding must not choose between options that are tied: equal ones rank by option.
    p = np.where(p >= best - LEAST_LISTED, best, p)
    task, option = np.nonzero(p >= LEAST_LISTED)
    return np.bincount(task, minlength=len(p)), option.astype(np.int32), p[task, option]


def _projects(batch: AnnotationBatch) -> Iterator[Answers]:
    """The annotations of each project, with tasks and workers numbered within it."""
    projects = np.arange(len(batch.project_ids) + 1)
    of_row = batch.task_project[batch.task_index]
    of_worker = np.zeros(batch.num_workers, np.int64)
    of_worker[batch.worker_index] = of_row
    for name, of in (("rows", of_row), ("tasks", batch.task_project), ("workers", of_worker)):
        if (np.diff(of) < 0).any():
            raise ScoringError(f"expected the batch's {name} project by project, got them mixed")
    row, task, worker = (
        np.searchsorted(of, projects) for of in (of_row, batch.task_project, of_worker)
    )
    for i, num_options in enumerate(batch.num_options):
        rows = slice(row[i], row[i + 1])
        yield Answers(
            task_index=batch.task_index[rows] - np.int32(task[i]),
            worker_index=batch.worker_index[rows] - np.int32(worker[i]),
            option_index=batch.option_index[rows],
            num_tasks=int(task[i + 1] - task[i]),
            num_workers=int(worker[i + 1] - worker[i]),
            num_options=int(num_options),
        )


def _offsets(counts: Integers) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
