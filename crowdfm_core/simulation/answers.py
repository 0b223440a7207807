"""Sampling the answers of a rich crowd from its causes, without a loop over annotations.

Letters: E annotations, T tasks, W workers, K options, G teachers.
"""

from __future__ import annotations

import numpy as np

from crowdfm_core.simulation.causes import Causes
from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.pieces import BoolArray, Places, Streams, draw_rows, sigmoid
from crowdfm_core.simulation.shapes import DrawnShape
from crowdfm_core.simulation.spammers import WorkerKind

__all__ = ["leaders", "sample_answers"]

_LEADER_TRIES = 4


def sample_answers(
    streams: Streams, causes: Causes, shape: DrawnShape, *, consistent: float
) -> IntArray:
    """Draw the answer of every annotation, int [E].

    consistent: share of the classes for which an adversary has one fixed wrong answer. What comes
    later overrides: own answer, teacher's, ambiguous task's, spammer's, copied.
    """
    task, worker = shape.task_index, shape.worker_index
    rng = streams["answers"]
    truth = causes.true_option[task]
    kind = causes.kind[worker]
    recognised = _recognised(rng, causes, task, causes.skill[worker, truth])
    answer = truth.copy()
    lost = np.flatnonzero(~recognised)
    answer[lost] = _fallback_answers(rng, causes, task[lost], worker[lost])
    if (causes.kind == WorkerKind.ADVERSARIAL).any():
        foul = np.flatnonzero(recognised & (kind == WorkerKind.ADVERSARIAL))
        answer[foul] = _foul_answers(
            streams["adversaries.answers"], causes, truth[foul], worker[foul], consistent
        )
    if causes.teachers.fidelity.any():
        rng = streams["teachers.answers"]
        follows = rng.random(len(task)) < causes.teachers.fidelity[worker]
        follows &= kind == WorkerKind.HONEST
        taught = _taught_answers(rng, causes)
        answer[follows] = taught[causes.teachers.teacher_of_worker[worker], task][follows]
    if causes.pull.any():
        pulled = streams["ambiguous_tasks.answers"].random(len(task)) < causes.pull[task]
        pulled &= (kind == WorkerKind.HONEST) | (kind == WorkerKind.COPYING)
        answer[pulled] = causes.tempting[task[pulled]]
    spam = (kind >= WorkerKind.RANDOM) & (kind <= WorkerKind.BIASED)
    if spam.any():
        answer[spam] = draw_rows(streams["spammers"], causes.spammer_answers, worker[spam])
    if (causes.leader >= 0).any():
        copied, source = _copied(streams["copying_workers.answers"], causes, task, worker)
        answer[copied] = answer[source]
    return answer


def leaders(
    rng: np.random.Generator, shape: DrawnShape, copying: BoolArray
) -> tuple[IntArray, FloatArray]:
    """Choose whom each copying worker copies, among those who share a task with them.

    copying: bool [W]. Returns the leader or -1, int [W], and the share of the copier's tasks that
    the leader answered too, float [W]. Leaders do not copy; they are drawn from the annotations
    of a task of the copier, so that busy workers lead more often.
    """
    leader = np.full(shape.num_workers, -1, np.int32)
    shared = np.zeros(shape.num_workers)
    mine = np.flatnonzero(copying[shape.worker_index])
    if not len(mine):
        return leader, shared
    counts = np.bincount(shape.task_index, minlength=shape.num_tasks)
    start = np.cumsum(counts) - counts
    for _ in range(_LEADER_TRIES):
        drawn = rng.permutation(mine)
        task, worker = shape.task_index[drawn], shape.worker_index[drawn]
        place = start[task] + (rng.random(len(drawn)) * counts[task]).astype(np.int64)
        other = shape.worker_index[place]
        found = ~copying[other] & (leader[worker] < 0)
        leader[worker[found]] = other[found]
    source = _annotation_of(shape.task_index, shape.worker_index, mine, leader)
    worker = shape.worker_index[mine]
    both = np.bincount(worker, weights=source >= 0, minlength=shape.num_workers)
    shared = both / np.maximum(np.bincount(worker, minlength=shape.num_workers), 1)
    return leader, shared


def _recognised(
    rng: np.random.Generator, causes: Causes, task: IntArray, skill: FloatArray
) -> BoolArray:
    advantage = causes.sensitivity[task] * (skill - causes.difficulty[task])
    chance = sigmoid(advantage.astype(np.float32))
    recognised: BoolArray = rng.random(len(task), np.float32) < chance
    return recognised


def _fallback_answers(
    rng: np.random.Generator, causes: Causes, task: IntArray, worker: IntArray
) -> IntArray:
    """Draw the answers of those who did not recognise the truth, one per row of `task`."""
    truth = causes.true_option[task]
    answer = draw_rows(rng, causes.fallback, truth)
    if causes.habit_share.any():
        habitual = rng.random(len(task)) < causes.habit_share[worker]
        answer = np.where(habitual, causes.habit[worker, truth], answer)
    if causes.groups.habit_share.any():
        group = causes.groups.group_of_worker[worker]
        habitual = rng.random(len(task)) < causes.groups.habit_share[group]
        answer = np.where(habitual, causes.group_habit[group, truth], answer)
    if causes.tempting_share:
        tempted = rng.random(len(task)) < causes.tempting_share
        answer = np.where(tempted, causes.tempting[task], answer)
    return answer


def _foul_answers(
    rng: np.random.Generator,
    causes: Causes,
    truth: IntArray,
    worker: IntArray,
    consistent: float,
) -> IntArray:
    """Draw wrong answers of adversaries, one per row of `truth`."""
    options = len(causes.prior)
    shift = rng.integers(1, options, len(truth), dtype=np.int32)
    fixed = rng.integers(1, options, (len(causes.kind), options), dtype=np.int32)
    holds = rng.random((len(causes.kind), options)) < consistent
    shift = np.where(holds[worker, truth], fixed[worker, truth], shift)
    return (truth + shift) % np.int32(options)


def _taught_answers(rng: np.random.Generator, causes: Causes) -> IntArray:
    """Draw the answer of every teacher to every task, int [G, T]."""
    number, tasks = len(causes.teachers.skill), len(causes.true_option)
    task = np.tile(np.arange(tasks, dtype=np.int32), number)
    truth = causes.true_option[task]
    skill = causes.class_skill[truth] + np.repeat(causes.teachers.skill, tasks)
    answer = np.where(
        _recognised(rng, causes, task, skill), truth, draw_rows(rng, causes.fallback, truth)
    )
    return answer.reshape(number, tasks)


def _copied(
    rng: np.random.Generator, causes: Causes, task: IntArray, worker: IntArray
) -> tuple[Places, Places]:
    """Return the annotations that are copies, and those that they are copies of."""
    willing = rng.random(len(task)) < causes.copies[worker]
    mine = np.flatnonzero(willing & (causes.leader[worker] >= 0))
    source = _annotation_of(task, worker, mine, causes.leader)
    return mine[source >= 0], source[source >= 0]


def _annotation_of(task: IntArray, worker: IntArray, rows: Places, leader: IntArray) -> Places:
    """Find, for each annotation of `rows`, its worker's leader's annotation of the same task, or
    -1."""
    base = np.int64(len(leader) + 1)
    keys = task.astype(np.int64) * base + worker
    order = np.argsort(keys)
    wanted = task[rows].astype(np.int64) * base + leader[worker[rows]]
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found = (keys[order[place]] == wanted) & (leader[worker[rows]] >= 0)
    return np.where(found, order[place], -1)
