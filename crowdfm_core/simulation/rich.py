"""Crowds richer than the paper's: a graph, shared confusions, workers, tasks, then answers.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crowdfm_core.simulation.acceptance import Acceptance
from crowdfm_core.simulation.answers import leaders, sample_answers
from crowdfm_core.simulation.causes import Causes, level_for_recall
from crowdfm_core.simulation.classes import (
    ClassImbalance,
    ClassSkill,
    ConfusableClasses,
    OrdinalConfusion,
    PreferredAnswers,
    SharedConfusion,
    wrong_answers,
)
from crowdfm_core.simulation.crowd import FloatArray, IntArray, SimulatedCrowd
from crowdfm_core.simulation.pieces import Checked, Range, Streams, draw_rows, logit
from crowdfm_core.simulation.shapes import DrawnShape, Shape
from crowdfm_core.simulation.spammers import (
    Adversaries,
    BiasedSpammers,
    ConstantSpammers,
    CopyingWorkers,
    RandomSpammers,
    WorkerKind,
    convert,
)
from crowdfm_core.simulation.tasks import (
    AmbiguousTasks,
    EasyAndHard,
    TaskDifficulty,
    TaskSensitivity,
    TemptingAnswers,
)
from crowdfm_core.simulation.workers import (
    ExpertsAndNovices,
    HabitualErrors,
    IndividualClassSkill,
    SkillByLoad,
    Teachers,
    WorkerGroups,
    WorkerSkill,
    habits,
)

__all__ = ["RichCrowds", "RichDraw"]

_SAMPLED_WORKERS = 64  # over which the crowd's level is set
_LEAST_WRONG = 1e-6  # keeps a row of wrong answers from being empty


@dataclass(frozen=True)
class RichDraw:
    """One crowd with everything that lies behind it."""

    crowd: SimulatedCrowd
    causes: Causes


@dataclass(frozen=True)
class RichCrowds(Checked):
    """A composition of named mechanisms, each of which is on in a share of the crowds.

    Skills, class skills and difficulties add up, in logits, to whether a worker recognises the
    truth; an answer without recognition comes from a blend of blind guessing (weight from
    `blind_weight`) and the crowd's shared confusions, or from a habit. The level of the crowd is
    set so that the mean recall of its honest workers over all classes lies at a share, drawn from
    `strength`, of the way from 1 / K to 1 (the twelve public sets: 0.22 to 0.74). A draw that
    `acceptance` refuses is drawn again on the same graph.

    All mechanisms at probability 0 leave equal workers who answer equal tasks of equal classes
    with errors uniform over the wrong options.
    """

    shape: Shape = field(default_factory=Shape)
    strength: Range = (0.1, 0.85)
    blind_weight: Range = (0.1, 1.0)
    class_imbalance: ClassImbalance = field(default_factory=ClassImbalance)
    class_skill: ClassSkill = field(default_factory=ClassSkill)
    preferred_answers: PreferredAnswers = field(default_factory=PreferredAnswers)
    confusable_classes: ConfusableClasses = field(default_factory=ConfusableClasses)
    ordinal_confusion: OrdinalConfusion = field(default_factory=OrdinalConfusion)
    shared_confusion: SharedConfusion = field(default_factory=SharedConfusion)
    worker_skill: WorkerSkill = field(default_factory=WorkerSkill)
    experts_and_novices: ExpertsAndNovices = field(default_factory=ExpertsAndNovices)
    skill_by_load: SkillByLoad = field(default_factory=SkillByLoad)
    individual_class_skill: IndividualClassSkill = field(default_factory=IndividualClassSkill)
    habitual_errors: HabitualErrors = field(default_factory=HabitualErrors)
    worker_groups: WorkerGroups = field(default_factory=WorkerGroups)
    teachers: Teachers = field(default_factory=Teachers)
    random_spammers: RandomSpammers = field(default_factory=RandomSpammers)
    constant_spammers: ConstantSpammers = field(default_factory=ConstantSpammers)
    biased_spammers: BiasedSpammers = field(default_factory=BiasedSpammers)
    copying_workers: CopyingWorkers = field(default_factory=CopyingWorkers)
    adversaries: Adversaries = field(default_factory=Adversaries)
    task_difficulty: TaskDifficulty = field(default_factory=TaskDifficulty)
    easy_and_hard: EasyAndHard = field(default_factory=EasyAndHard)
    task_sensitivity: TaskSensitivity = field(default_factory=TaskSensitivity)
    tempting_answers: TemptingAnswers = field(default_factory=TemptingAnswers)
    ambiguous_tasks: AmbiguousTasks = field(default_factory=AmbiguousTasks)
    acceptance: Acceptance = field(default_factory=Acceptance)
    bounds: ClassVar[dict[str, Range]] = {"strength": (0.0, 0.999), "blind_weight": (1e-3, 1e3)}

    def sample(self, rng: np.random.Generator) -> SimulatedCrowd:
        """Draw one crowd."""
        return self.draw(rng).crowd

    def draw(self, rng: np.random.Generator) -> RichDraw:
        """Draw one crowd, and return what lies behind it too."""
        shape = self.shape.sample(Streams(rng)["shape"])

        def attempt(strength: float) -> tuple[SimulatedCrowd, RichDraw]:
            draw = self._draw_on(shape, strength, Streams(rng))
            return draw.crowd, draw

        return self.acceptance.draw(rng, self.strength, attempt)

    def _draw_on(self, shape: DrawnShape, strength: float, streams: Streams) -> RichDraw:
        causes = self._draw_causes(shape, strength, streams)
        consistent = streams["consistent"].uniform(*self.adversaries.consistent)
        answer = sample_answers(streams, causes, shape, consistent=consistent)
        crowd = SimulatedCrowd(
            task_index=shape.task_index,
            worker_index=shape.worker_index,
            option_index=answer,
            true_option=causes.true_option,
            num_options=shape.num_options,
            worker_ability=logit(causes.expected_accuracy()),
            task_difficulty=causes.task_difficulty(),
            task_discrimination=causes.sensitivity,
            task_guessing=np.diagonal(causes.fallback)[causes.true_option],
        )
        return RichDraw(crowd, causes)

    def _draw_causes(self, shape: DrawnShape, strength: float, streams: Streams) -> Causes:
        tasks, workers, options = shape.num_tasks, shape.num_workers, shape.num_options
        prior = self.class_imbalance.sample(streams["class_imbalance"], options)
        rng = streams["truth"]
        truth = rng.choice(options, tasks, p=prior).astype(np.int32)
        fallback = self._draw_fallback(prior, streams)
        wrong = fallback * (1.0 - np.eye(options)) + _LEAST_WRONG * wrong_answers(options)

        difficulty = self.task_difficulty.sample(streams["task_difficulty"], tasks)
        difficulty = difficulty + self.easy_and_hard.sample(streams["easy_and_hard"], tasks)
        sensitivity = self.task_sensitivity.sample(streams["task_sensitivity"], tasks)
        tempting_share = self.tempting_answers.sample(streams["tempting_answers"])

        class_skill = self.class_skill.sample(streams["class_skill"], options)
        of_worker = self.worker_skill.sample(streams["worker_skill"], workers)
        rng = streams["experts_and_novices"]
        of_worker = of_worker + self.experts_and_novices.sample(rng, workers)
        loads = np.bincount(shape.worker_index, minlength=workers)
        of_worker = of_worker + self.skill_by_load.sample(streams["skill_by_load"], loads)
        skill = of_worker[:, None] + class_skill
        rng = streams["individual_class_skill"]
        skill = skill + self.individual_class_skill.sample(rng, workers, options)
        groups = self.worker_groups.sample(streams["worker_groups"], workers, options)
        skill = skill + groups.skill[groups.group_of_worker]
        habit_share = self.habitual_errors.sample(streams["habitual_errors"], workers)

        free = (1.0 - tempting_share) * (1.0 - habit_share.mean())
        free *= 1.0 - groups.habit_share[groups.group_of_worker].mean()
        level = level_for_recall(
            1.0 / options + strength * (1.0 - 1.0 / options),
            skill[:_SAMPLED_WORKERS],
            free * np.diagonal(fallback),
            difficulty,
            sensitivity,
        )
        kind, spammer_answers = self._draw_deviants(workers, options, streams)
        rng = streams["copying_workers"]
        leader, shared = leaders(rng, shape, kind == WorkerKind.COPYING)
        low, high = self.copying_workers.fidelity
        return Causes(
            prior=prior,
            true_option=truth,
            fallback=fallback,
            class_skill=class_skill + level,
            skill=skill + level,
            difficulty=difficulty,
            sensitivity=sensitivity,
            habit_share=habit_share,
            habit=habits(streams["habits"], wrong, workers if habit_share.any() else 0),
            groups=groups,
            group_habit=habits(streams["group_habits"], wrong, len(groups.skill)),
            teachers=self.teachers.sample(streams["teachers"], workers),
            tempting_share=tempting_share,
            tempting=draw_rows(streams["tempting"], wrong, truth),
            pull=self.ambiguous_tasks.sample(streams["ambiguous_tasks"], tasks),
            kind=kind,
            leader=leader,
            copies=np.where(leader >= 0, rng.uniform(low, high, workers), 0.0),
            shared_with_leader=shared,
            spammer_answers=spammer_answers,
        )

    def _draw_fallback(self, prior: FloatArray, streams: Streams) -> FloatArray:
        """Blend the sources of unrecognised answers into one table, float [K, K]."""
        options = len(prior)
        total = streams["blind"].uniform(*self.blind_weight)
        blend: npt.NDArray[Any] = np.full((options, options), total / options)
        sources = [self.preferred_answers.sample(streams["preferred_answers"], prior)]
        for name in ("confusable_classes", "ordinal_confusion", "shared_confusion"):
            sources.append(getattr(self, name).sample(streams[name], options))
        for weight, table in sources:
            blend = blend + weight * table
            total += weight
        return blend / total

    def _draw_deviants(
        self, workers: int, options: int, streams: Streams
    ) -> tuple[IntArray, FloatArray]:
        """Draw the kind of each worker [W], and the answers [W, K] of spammers."""
        kind = np.zeros(workers, np.int32)
        for name, new in (
            ("random_spammers", WorkerKind.RANDOM),
            ("constant_spammers", WorkerKind.CONSTANT),
            ("biased_spammers", WorkerKind.BIASED),
            ("copying_workers", WorkerKind.COPYING),
            ("adversaries", WorkerKind.ADVERSARIAL),
        ):
            convert(kind, getattr(self, name).sample(streams[name], workers), new)
        spam = (kind >= WorkerKind.RANDOM) & (kind <= WorkerKind.BIASED)
        if not spam.any():
            return kind, np.zeros((0, 0))
        answers = np.full((workers, options), 1.0 / options)
        constant, biased = kind == WorkerKind.CONSTANT, kind == WorkerKind.BIASED
        chosen = streams["constant_answers"].integers(0, options, int(constant.sum()))
        answers[constant] = np.eye(options)[chosen]
        answers[biased] = self.biased_spammers.distributions(
            streams["biased_answers"], int(biased.sum()), options
        )
        return kind, answers
