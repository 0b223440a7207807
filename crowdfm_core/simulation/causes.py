"""Everything that lies behind one rich crowd, and what follows from it without sampling.

An honest worker recognises the truth with probability sigmoid(sensitivity (skill - difficulty)),
and else answers by the crowd's fallback table, by a habit, or as the task tempts to.
Letters: T tasks, W workers, K options, G groups or teachers, S spammers of one kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.pieces import logit, sigmoid
from crowdfm_core.simulation.spammers import WorkerKind
from crowdfm_core.simulation.workers import DrawnGroups, DrawnTeachers

__all__ = ["Causes", "level_for_recall", "mean_recognition"]

_SAMPLED_TASKS = 256  # over which recognition is averaged
_SAMPLED_WORKERS = 32  # over which a task's accuracy is averaged
_GRID = np.linspace(-16.0, 16.0, 129)  # of skills, in logits


@dataclass(frozen=True)
class Causes:
    """The latent variables of one crowd."""

    prior: FloatArray  # [K] frequency of each class
    true_option: IntArray  # [T]
    fallback: FloatArray  # [K, K] unrecognised truth -> answer, the truth itself among them
    class_skill: FloatArray  # [K] for everybody, in logits, the crowd's level among it
    skill: FloatArray  # [W, K] of each worker for each class, in logits, level included
    difficulty: FloatArray  # [T] in logits
    sensitivity: FloatArray  # [T]
    habit_share: FloatArray  # [W]
    habit: IntArray  # [W, K] a wrong answer per class
    groups: DrawnGroups
    group_habit: IntArray  # [G, K]
    teachers: DrawnTeachers
    tempting_share: float
    tempting: IntArray  # [T] the task's own wrong answer
    pull: FloatArray  # [T] of an ambiguous task towards that answer, else 0
    kind: IntArray  # [W] WorkerKind
    leader: IntArray  # [W] the worker whom a copying worker copies, else -1
    copies: FloatArray  # [W] probability of repeating the leader, where both answered
    shared_with_leader: FloatArray  # [W] share of the worker's tasks that the leader answered too
    spammer_answers: FloatArray  # [W, K] of random, constant and biased spammers; [0, 0] if none

    def habits_of_worker(self) -> FloatArray:
        """Return the share of unrecognised answers that follow no habit and no temptation, [W]."""
        group = self.groups.habit_share[self.groups.group_of_worker]
        free: FloatArray = (1.0 - self.tempting_share) * (1.0 - group) * (1.0 - self.habit_share)
        return free

    def expected_accuracy(self) -> FloatArray:
        """Return each worker's probability of a right answer on a task drawn at random, [W].

        Classes are weighted by `prior`, tasks alike; what a worker copies counts with the share
        of tasks on which there is something to copy.
        """
        lucky = np.diagonal(self.fallback)
        unforced = 1.0 - float(self.pull.mean())
        curve = mean_recognition(self.difficulty, self.sensitivity)
        recognised = np.interp(self.skill, _GRID, curve)
        guessed = self.habits_of_worker()[:, None] * lucky
        own = (recognised + (1.0 - recognised) * guessed) @ self.prior
        taught = np.interp(self.class_skill + self.teachers.skill[:, None], _GRID, curve)
        taught = taught + (1.0 - taught) * (1.0 - self.tempting_share) * lucky
        of_teacher = (taught @ self.prior)[self.teachers.teacher_of_worker]
        honest = self.kind == WorkerKind.HONEST
        follows = np.where(honest, self.teachers.fidelity, 0.0)
        accuracy = unforced * ((1.0 - follows) * own + follows * of_teacher)
        foul = self.kind == WorkerKind.ADVERSARIAL
        accuracy[foul] = (((1.0 - recognised) * guessed) @ self.prior)[foul]
        for kind in (WorkerKind.RANDOM, WorkerKind.CONSTANT, WorkerKind.BIASED):
            some = self.kind == kind
            if some.any():
                accuracy[some] = self.spammer_answers[some] @ self.prior
        copies = np.where(self.leader >= 0, self.copies * self.shared_with_leader, 0.0)
        return np.asarray((1.0 - copies) * accuracy + copies * accuracy[self.leader])

    def task_difficulty(self) -> FloatArray:
        """Return how much harder each task is than the crowd's average, in logits, [T].

        It is logit(a) - logit(a_t), with a_t the mean accuracy of honest workers on the task and
        a its mean over tasks; workers are represented by quantiles of their skill per class.
        """
        quantiles = (np.arange(_SAMPLED_WORKERS) + 0.5) / _SAMPLED_WORKERS
        skill = np.quantile(self.skill[:512], quantiles, axis=0)
        lucky = np.diagonal(self.fallback) * float(self.habits_of_worker().mean())
        accuracy = np.empty(len(self.true_option))
        chunk = 65_536
        for start in range(0, len(accuracy), chunk):
            part = slice(start, start + chunk)
            truth = self.true_option[part]
            advantage = self.sensitivity[part] * (skill[:, truth] - self.difficulty[part])
            recognised = sigmoid(advantage).mean(axis=0)
            accuracy[part] = recognised + (1.0 - recognised) * lucky[truth]
        accuracy *= 1.0 - self.pull
        return np.asarray(logit(np.asarray(accuracy.mean())) - logit(accuracy))


def mean_recognition(difficulty: FloatArray, sensitivity: FloatArray) -> FloatArray:
    """Return the mean over tasks of sigmoid(sensitivity (skill - difficulty)) per skill of the
    grid, [129]; at most 256 tasks, evenly spaced, stand for all."""
    step = -(-len(difficulty) // _SAMPLED_TASKS)
    advantage = sensitivity[::step, None] * (_GRID - difficulty[::step, None])
    mean: FloatArray = sigmoid(advantage).mean(axis=0)
    return mean


def level_for_recall(
    wanted: float,
    offsets: FloatArray,
    lucky: FloatArray,
    difficulty: FloatArray,
    sensitivity: FloatArray,
) -> float:
    """Return the level that, added to all skills, brings the mean recall to `wanted`.

    offsets: [N, K] skills without level; lucky: [K] recall of those who recognise nothing; the
    mean is over N and K alike. By bisection; the recall rises with the level.
    """
    curve = mean_recognition(difficulty, sensitivity)
    low, high = -14.0, 14.0
    for _ in range(24):
        level = 0.5 * (low + high)
        recognised = np.interp(offsets + level, _GRID, curve)
        if (recognised + (1.0 - recognised) * lucky).mean() < wanted:
            low = level
        else:
            high = level
    return 0.5 * (low + high)
