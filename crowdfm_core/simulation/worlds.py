"""The worlds of the classical models: in each of them one method of aggregation is right.

For a table of results, a world takes `Shape.exact(...)` and a `strength` with equal ends.
Letters: E annotations, T tasks, W workers, K options, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from crowdfm_core.simulation.acceptance import Acceptance
from crowdfm_core.simulation.causes import level_for_recall
from crowdfm_core.simulation.classes import ClassImbalance, wrong_answers
from crowdfm_core.simulation.crowd import FloatArray, IntArray, SimulatedCrowd
from crowdfm_core.simulation.item_response import draw_answers
from crowdfm_core.simulation.pieces import (
    Checked,
    Range,
    Streams,
    draw_rows,
    log_uniform,
    logit,
    sigmoid,
)
from crowdfm_core.simulation.shapes import DrawnShape, Shape

__all__ = [
    "CONCENTRATION",
    "SPREAD",
    "STRENGTH",
    "DawidSkeneCrowds",
    "GladCrowds",
    "GroupedCrowds",
    "OneCoinCrowds",
    "World",
    "WorldDraw",
    "confusion_with_equal_errors",
    "crowd_of",
    "rows_around",
]

STRENGTH = (0.0, 0.999)
SPREAD = (0.0, 10.0)
CONCENTRATION = (0.01, 1e6)
_SAMPLED = 256  # workers, or tasks, that stand for all in a mean


@dataclass(frozen=True)
class WorldDraw:
    """One crowd and what each of its workers does."""

    crowd: SimulatedCrowd
    prior: FloatArray  # [K] frequency of each class
    confusion: FloatArray  # [W, K, K] true option -> answer, on a task drawn at random
    group_of_worker: IntArray  # [W], all 0 in a world without groups


@dataclass(frozen=True)
class World(Checked):
    """What all worlds share: a graph, class frequencies, and a strength.

    The mean accuracy of a worker lies at `strength` of the way from 1 / K to 1. What `acceptance`
    refuses is drawn again on the same graph, as in RichCrowds.
    """

    shape: Shape = field(default_factory=Shape)
    strength: Range = (0.15, 0.8)
    class_imbalance: ClassImbalance = field(default_factory=lambda: ClassImbalance(probability=0.5))
    acceptance: Acceptance = field(default_factory=Acceptance)

    def sample(self, rng: np.random.Generator) -> SimulatedCrowd:
        """Draw one crowd."""
        return self.draw(rng).crowd

    def draw(self, rng: np.random.Generator) -> WorldDraw:
        """Draw one crowd with the confusion matrices behind it."""
        shape = self.shape.sample(Streams(rng)["shape"])

        def attempt(strength: float) -> tuple[SimulatedCrowd, WorldDraw]:
            streams = Streams(rng)
            options = shape.num_options
            prior = self.class_imbalance.sample(streams["class_imbalance"], options)
            truth = streams["truth"].choice(options, shape.num_tasks, p=prior).astype(np.int32)
            accuracy = 1.0 / options + strength * (1.0 - 1.0 / options)
            draw = self._draw_on(shape, prior, truth, accuracy, streams)
            return draw.crowd, draw

        return self.acceptance.draw(rng, self.strength, attempt)

    def _draw_on(
        self,
        shape: DrawnShape,
        prior: FloatArray,
        truth: IntArray,
        accuracy: float,
        streams: Streams,
    ) -> WorldDraw:
        raise NotImplementedError


@dataclass(frozen=True)
class DawidSkeneCrowds(World):
    """Dawid and Skene (1979): every worker has a confusion matrix; given the truth, answers are
    independent.

    Row k of a worker's matrix is Dirichlet(c B[k]), with c from `concentration` (log-uniform; the
    smaller, the more workers differ). B has the crowd's accuracy on its diagonal, in logits
    spread over the classes by `class_spread`, and equal errors, unless the crowd shares a bias: a
    part of every row, from `shared_bias`, is one Dirichlet(`bias_concentration`) draw, which
    lowers the accuracy. A spread and a bias of [0, 0] are off, which is the default.
    """

    concentration: Range = (2.0, 40.0)
    class_spread: Range = (0.0, 0.0)
    shared_bias: Range = (0.0, 0.0)
    bias_concentration: float = 1.0
    bounds: ClassVar[dict[str, Range]] = {
        "strength": STRENGTH,
        "concentration": CONCENTRATION,
        "class_spread": SPREAD,
        "shared_bias": (0.0, 1.0),
        "bias_concentration": CONCENTRATION,
    }

    def _draw_on(
        self,
        shape: DrawnShape,
        prior: FloatArray,
        truth: IntArray,
        accuracy: float,
        streams: Streams,
    ) -> WorldDraw:
        options = shape.num_options
        rng = streams["confusion"]
        spread = rng.normal(0.0, rng.uniform(*self.class_spread), options)
        base = confusion_with_equal_errors(sigmoid(logit(np.asarray(accuracy)) + spread))
        rng = streams["shared_bias"]
        bias = rng.uniform(*self.shared_bias)
        preferred = rng.dirichlet(np.full(options, self.bias_concentration))
        base = (1.0 - bias) * base + bias * preferred
        rng = streams["workers"]
        concentration = log_uniform(rng, self.concentration)
        confusion = rows_around(
            rng, np.broadcast_to(base, (shape.num_workers, *base.shape)), concentration
        )
        return _answered(shape, prior, truth, confusion, streams)


@dataclass(frozen=True)
class GroupedCrowds(World):
    """Workers in groups (community-based combination, Venanzi et al., 2014): a number of groups
    from `groups`, each with a confusion matrix, Dirichlet(c B[k]) with c from
    `group_concentration`; a member's rows are Dirichlet with c from `member_concentration` around
    the group's."""

    groups: tuple[int, int] = (2, 5)
    group_concentration: Range = (1.0, 10.0)
    member_concentration: Range = (20.0, 500.0)
    bounds: ClassVar[dict[str, Range]] = {
        "strength": STRENGTH,
        "groups": (1, 1000),
        "group_concentration": CONCENTRATION,
        "member_concentration": CONCENTRATION,
    }

    def _draw_on(
        self,
        shape: DrawnShape,
        prior: FloatArray,
        truth: IntArray,
        accuracy: float,
        streams: Streams,
    ) -> WorldDraw:
        rng = streams["groups"]
        number = int(rng.integers(*self.groups, endpoint=True))
        base = confusion_with_equal_errors(np.full(shape.num_options, accuracy))
        base = np.broadcast_to(base, (number, *base.shape))
        of_group = rows_around(rng, base, log_uniform(rng, self.group_concentration))
        sizes = rng.dirichlet(np.full(number, 2.0))
        group = rng.choice(number, shape.num_workers, p=sizes).astype(np.int32)
        rng = streams["workers"]
        confusion = rows_around(rng, of_group[group], log_uniform(rng, self.member_concentration))
        return _answered(shape, prior, truth, confusion, streams, group)


@dataclass(frozen=True)
class OneCoinCrowds(World):
    """One coin per worker: an accuracy, Beta-distributed around the crowd's with a concentration
    (a + b) from `concentration`, the same on every class; errors are uniform."""

    concentration: Range = (2.0, 40.0)
    bounds: ClassVar[dict[str, Range]] = {
        "strength": STRENGTH,
        "concentration": CONCENTRATION,
    }

    def _draw_on(
        self,
        shape: DrawnShape,
        prior: FloatArray,
        truth: IntArray,
        accuracy: float,
        streams: Streams,
    ) -> WorldDraw:
        rng = streams["workers"]
        total = log_uniform(rng, self.concentration)
        right = rng.beta(total * accuracy, total * (1.0 - accuracy), shape.num_workers)
        return _one_coin(shape, prior, truth, right, right[shape.worker_index], streams)


@dataclass(frozen=True)
class GladCrowds(World):
    """GLAD (Whitehill et al., 2009): P(right) = sigmoid(alpha beta), with an ability alpha per
    worker, normal with a spread from `ability_spread`, and an ease beta > 0 per task, log-normal
    with a spread from `ease_spread`; errors are uniform. The mean ability sets the accuracy, so
    that with more than two options a mean of abilities below 0 is possible, as in the model."""

    ability_spread: Range = (0.3, 2.0)
    ease_spread: Range = (0.2, 1.2)
    bounds: ClassVar[dict[str, Range]] = {
        "strength": STRENGTH,
        "ability_spread": SPREAD,
        "ease_spread": SPREAD,
    }

    def _draw_on(
        self,
        shape: DrawnShape,
        prior: FloatArray,
        truth: IntArray,
        accuracy: float,
        streams: Streams,
    ) -> WorldDraw:
        rng = streams["tasks"]
        ease = np.exp(rng.normal(0.0, rng.uniform(*self.ease_spread), shape.num_tasks))
        rng = streams["workers"]
        ability = rng.normal(0.0, rng.uniform(*self.ability_spread), shape.num_workers)
        ability += level_for_recall(
            accuracy, ability[:_SAMPLED, None], np.zeros(1), np.zeros(shape.num_tasks), ease
        )
        few_tasks = ease[:: -(-shape.num_tasks // _SAMPLED)]
        of_worker = sigmoid(np.outer(ability, few_tasks)).mean(axis=1)
        few_workers = ability[:_SAMPLED]
        of_task = sigmoid(np.outer(ease, few_workers)).mean(axis=1)
        right = sigmoid(ability[shape.worker_index] * ease[shape.task_index])
        difficulty = logit(np.asarray(of_task.mean())) - logit(of_task)
        return _one_coin(
            shape, prior, truth, of_worker, right, streams, difficulty=difficulty, sensitivity=ease
        )


def confusion_with_equal_errors(right: FloatArray) -> FloatArray:
    """Return the table [..., K, K] with `right` [..., K] on the diagonal and equal errors."""
    options = right.shape[-1]
    wrong = (1.0 - right)[..., None] * wrong_answers(options)
    table: FloatArray = right[..., None] * np.eye(options) + wrong
    return table


def rows_around(rng: np.random.Generator, base: FloatArray, concentration: float) -> FloatArray:
    """Draw each row of `base` [..., K] anew, Dirichlet(concentration * row)."""
    mass = rng.standard_gamma(concentration * base) + 1e-12
    return np.asarray(mass / mass.sum(axis=-1, keepdims=True))


def _answered(
    shape: DrawnShape,
    prior: FloatArray,
    truth: IntArray,
    confusion: FloatArray,
    streams: Streams,
    group: IntArray | None = None,
) -> WorldDraw:
    """Draw all answers from confusion matrices [W, K, K]; tasks have no parameters."""
    options = shape.num_options
    row = shape.worker_index.astype(np.int64) * options + truth[shape.task_index]
    answer = draw_rows(streams["answers"], confusion.reshape(-1, options), row)
    accuracy = np.einsum("wkk,k->w", confusion, prior)
    crowd = crowd_of(shape, truth, answer, accuracy)
    if group is None:
        group = np.zeros(shape.num_workers, np.int32)
    return WorldDraw(crowd, prior, confusion, group)


def _one_coin(
    shape: DrawnShape,
    prior: FloatArray,
    truth: IntArray,
    accuracy: FloatArray,
    right: FloatArray,
    streams: Streams,
    *,
    difficulty: FloatArray | None = None,
    sensitivity: FloatArray | None = None,
) -> WorldDraw:
    """Draw answers that are right with `right` [E], else uniformly wrong; accuracy: [W]."""
    options = shape.num_options
    answer = draw_answers(streams["answers"], truth[shape.task_index], right, options)
    crowd = crowd_of(shape, truth, answer, accuracy, difficulty, sensitivity)
    confusion = confusion_with_equal_errors(
        np.broadcast_to(accuracy[:, None], (shape.num_workers, options))
    )
    return WorldDraw(crowd, prior, confusion, np.zeros(shape.num_workers, np.int32))


def crowd_of(
    shape: DrawnShape,
    truth: IntArray,
    answer: IntArray,
    accuracy: FloatArray,
    difficulty: FloatArray | None = None,
    sensitivity: FloatArray | None = None,
) -> SimulatedCrowd:
    """Put a crowd together; parameters that are not given are NaN."""
    absent = np.full(shape.num_tasks, np.nan)
    return SimulatedCrowd(
        task_index=shape.task_index,
        worker_index=shape.worker_index,
        option_index=answer,
        true_option=truth,
        num_options=shape.num_options,
        worker_ability=logit(accuracy),
        task_difficulty=absent if difficulty is None else difficulty,
        task_discrimination=absent if sensitivity is None else sensitivity,
        task_guessing=absent,
    )
