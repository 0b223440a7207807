"""How honest workers of one crowd differ: skill, experts, load, class, habits, groups, teachers.

Letters: W workers, K options, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.pieces import Piece, Places, Range, draw_rows

__all__ = [
    "DrawnGroups",
    "DrawnTeachers",
    "ExpertsAndNovices",
    "HabitualErrors",
    "IndividualClassSkill",
    "SkillByLoad",
    "Teachers",
    "WorkerGroups",
    "WorkerSkill",
    "habits",
]


@dataclass(frozen=True)
class WorkerSkill(Piece):
    """Workers of different skill: normal offsets, in logits, of a spread from `spread`; off: 0."""

    probability: float = 0.95
    spread: Range = (0.1, 1.4)
    bounds: ClassVar[dict[str, Range]] = {"spread": (0.0, 10.0)}

    def sample(self, rng: np.random.Generator, workers: int) -> FloatArray:
        """Draw an offset per worker, float [W]."""
        if not self.is_on(rng):
            return np.zeros(workers)
        return rng.normal(0.0, rng.uniform(*self.spread), workers)


@dataclass(frozen=True)
class ExpertsAndNovices(Piece):
    """A mixture: a share from `experts` of the workers is more skilled by `gap` logits; off: none.

    Some public crowds are a few reliable workers among many who nearly guess.
    """

    probability: float = 0.3
    experts: Range = (0.05, 0.6)
    gap: Range = (0.8, 3.0)
    bounds: ClassVar[dict[str, Range]] = {"experts": (0.0, 1.0), "gap": (0.0, 20.0)}

    def sample(self, rng: np.random.Generator, workers: int) -> FloatArray:
        """Draw an offset per worker, 0 or the crowd's gap, float [W]."""
        if not self.is_on(rng):
            return np.zeros(workers)
        share, gap = rng.uniform(*self.experts), rng.uniform(*self.gap)
        return gap * (rng.random(workers) < share)


@dataclass(frozen=True)
class SkillByLoad(Piece):
    """Busy workers who are better, or worse, than those who give few answers: a slope from
    `slope`, in logits per standard deviation of the logarithm of the load; off: 0."""

    probability: float = 0.4
    slope: Range = (-0.4, 1.2)
    bounds: ClassVar[dict[str, Range]] = {"slope": (-10.0, 10.0)}

    def sample(self, rng: np.random.Generator, loads: Places) -> FloatArray:
        """Return an offset per worker, float [W], from their numbers of answers >= 1, [W]."""
        if not self.is_on(rng):
            return np.zeros(len(loads))
        size = np.log(loads)
        standard = (size - size.mean()) / max(float(size.std()), 1e-9)
        return np.asarray(rng.uniform(*self.slope) * standard)


@dataclass(frozen=True)
class IndividualClassSkill(Piece):
    """Workers who know some classes better than others, each their own: normal offsets, in
    logits, per worker and class; off: 0."""

    probability: float = 0.6
    spread: Range = (0.1, 1.0)
    bounds: ClassVar[dict[str, Range]] = {"spread": (0.0, 10.0)}

    def sample(self, rng: np.random.Generator, workers: int, options: int) -> FloatArray:
        """Draw an offset per worker and class, float [W, K], or [1, 1] of zero when off."""
        if not self.is_on(rng):
            return np.zeros((1, 1))
        return rng.uniform(*self.spread) * rng.standard_normal((workers, options), np.float32)


@dataclass(frozen=True)
class HabitualErrors(Piece):
    """Confusion matrices around the crowd's: each worker has one wrong answer per class, drawn
    from the crowd's confusions, and takes it in a share of the unrecognised answers. The shares of
    a crowd's workers are uniform between 0 and an end drawn from `largest_share`; off: 0.
    """

    probability: float = 0.6
    largest_share: Range = (0.2, 1.0)
    bounds: ClassVar[dict[str, Range]] = {"largest_share": (0.0, 1.0)}

    def sample(self, rng: np.random.Generator, workers: int) -> FloatArray:
        """Draw each worker's share, float [W]."""
        if not self.is_on(rng):
            return np.zeros(workers)
        return rng.uniform(0.0, rng.uniform(*self.largest_share), workers)


@dataclass(frozen=True)
class DrawnGroups:
    """Groups of one crowd; without groups G is 1 and all numbers are 0."""

    group_of_worker: IntArray  # [W]
    skill: FloatArray  # [G, K] offsets in logits
    habit_share: FloatArray  # [G] share of unrecognised answers that follow the group's habit


@dataclass(frozen=True)
class WorkerGroups(Piece):
    """Workers in groups (as in community-based Bayesian classifier combination, Venanzi et al.,
    2014): a number from `groups`, of Dirichlet(2) sizes. A group has a skill (spread from
    `skill_spread`), a skill per class (half that spread), and a habitual wrong answer per class
    that its members share in a share of their unrecognised answers up to `habit_share`.
    """

    probability: float = 0.3
    groups: tuple[int, int] = (2, 5)
    skill_spread: Range = (0.2, 1.5)
    habit_share: Range = (0.0, 0.7)
    bounds: ClassVar[dict[str, Range]] = {
        "groups": (1, 1000),
        "skill_spread": (0.0, 10.0),
        "habit_share": (0.0, 1.0),
    }

    def sample(self, rng: np.random.Generator, workers: int, options: int) -> DrawnGroups:
        """Draw who is in which group, and what the groups are like."""
        if not self.is_on(rng):
            return DrawnGroups(np.zeros(workers, np.int32), np.zeros((1, options)), np.zeros(1))
        number = int(rng.integers(*self.groups, endpoint=True))
        sizes = rng.dirichlet(np.full(number, 2.0))
        spread = rng.uniform(*self.skill_spread)
        skill = rng.normal(0.0, spread, (number, 1))
        return DrawnGroups(
            group_of_worker=rng.choice(number, workers, p=sizes).astype(np.int32),
            skill=skill + rng.normal(0.0, 0.5 * spread, (number, options)),
            habit_share=rng.uniform(*self.habit_share, size=number),
        )


@dataclass(frozen=True)
class DrawnTeachers:
    """Teachers of one crowd, who are no workers of it; without teachers G is 1, nobody follows."""

    teacher_of_worker: IntArray  # [W] or -1
    fidelity: FloatArray  # [W] probability of repeating the teacher's answer
    skill: FloatArray  # [G] offsets in logits


@dataclass(frozen=True)
class Teachers(Piece):
    """Correlated workers (the student-teacher setting): a share from `students` of the workers
    each follows one of a few hidden teachers. A teacher has one answer per task, right or wrong,
    drawn like anybody's; a student repeats it with a probability from `fidelity`.
    """

    probability: float = 0.15
    teachers: tuple[int, int] = (1, 4)
    students: Range = (0.1, 0.5)
    fidelity: Range = (0.3, 0.9)
    skill_spread: Range = (0.2, 1.0)
    bounds: ClassVar[dict[str, Range]] = {
        "teachers": (1, 100),
        "students": (0.0, 1.0),
        "fidelity": (0.0, 1.0),
        "skill_spread": (0.0, 10.0),
    }

    def sample(self, rng: np.random.Generator, workers: int) -> DrawnTeachers:
        """Draw who follows which teacher."""
        teacher = np.full(workers, -1, np.int32)
        if not self.is_on(rng):
            return DrawnTeachers(teacher, np.zeros(workers), np.zeros(1))
        number = int(rng.integers(*self.teachers, endpoint=True))
        student = rng.random(workers) < rng.uniform(*self.students)
        teacher[student] = rng.integers(0, number, int(student.sum()))
        low, high = np.sort(rng.uniform(*self.fidelity, size=2))
        fidelity = np.where(student, rng.uniform(low, high, workers), 0.0)
        spread = rng.uniform(*self.skill_spread)
        return DrawnTeachers(teacher, fidelity, rng.normal(0.0, spread, number))


def habits(rng: np.random.Generator, wrong: FloatArray, rows: int) -> IntArray:
    """Draw one wrong answer per row and class from the crowd's `wrong` answers [K, K]: [rows, K].

    `wrong` has a zero diagonal.
    """
    options = len(wrong)
    row = np.tile(np.arange(options, dtype=np.int32), rows)
    return draw_rows(rng, wrong, row).reshape(rows, options)
