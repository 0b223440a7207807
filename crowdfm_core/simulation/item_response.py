"""Algorithm 1 of the CrowdFM paper (ICLR 2026): crowds of the three-parameter logistic model.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray, IntArray, SimulatedCrowd, compacted
from crowdfm_core.simulation.sizes import CrowdSizes, assign_workers, check_ranges

__all__ = ["ThreeParameterLogisticCrowds", "draw_answers", "probability_correct"]

# Brings the logistic function within 0.01 of the normal ogive; customary in item response theory.
_LOGISTIC_SCALE = 1.7


@dataclass(frozen=True)
class ThreeParameterLogisticCrowds:
    """Crowds whose workers differ in ability, whose tasks differ in difficulty, and whose wrong
    answers are uniform over the wrong options.

    P(right) = c + (1 - c) sigmoid(1.7 alpha (theta - beta)), with ability theta and difficulty
    beta normal around a mean and spread drawn per crowd, discrimination alpha and guessing c
    uniform between ends drawn per crowd. Ranges are those of Table 1 (Appendix B.1), with one
    exception: the paper draws worker loads from a heavy-tailed distribution whose parameters are
    not available to us, so `load_tail_exponent` is ours. Per crowd an exponent is drawn, and
    every worker answers in proportion to a Pareto variable of that exponent (the smaller, the
    more answers come from few workers). Nine of ten crowds then have loads with a Gini
    coefficient between 0.18 and 0.68; public data sets of paid crowds have 0.5 to 0.85.
    """

    sizes: CrowdSizes = field(default_factory=CrowdSizes)
    ability_mean: tuple[float, float] = (-1.0, 1.0)
    ability_spread: tuple[float, float] = (0.5, 2.0)
    difficulty_mean: tuple[float, float] = (-1.0, 1.0)
    difficulty_spread: tuple[float, float] = (0.5, 2.0)
    discrimination_low: tuple[float, float] = (0.3, 1.0)
    discrimination_high: tuple[float, float] = (1.5, 3.0)
    guessing_high: tuple[float, float] = (0.1, 0.4)
    load_tail_exponent: tuple[float, float] = (0.7, 3.0)

    def __post_init__(self) -> None:
        unbounded = float("-inf")
        check_ranges(
            self,
            {
                "ability_mean": unbounded,
                "ability_spread": 0.0,
                "difficulty_mean": unbounded,
                "difficulty_spread": 0.0,
                "discrimination_low": 0.0,
                "discrimination_high": 0.0,
                "guessing_high": 0.0,
                "load_tail_exponent": 0.1,  # below, a single worker would answer nearly all
            },
        )

    def sample(self, rng: np.random.Generator) -> SimulatedCrowd:
        """Draw one crowd."""
        sizes = self.sizes.sample(rng)
        tasks, options = sizes.num_tasks, sizes.num_options
        propensity = 1.0 + rng.pareto(rng.uniform(*self.load_tail_exponent), sizes.num_workers)
        task_index, worker = assign_workers(rng, sizes.answers_per_task, propensity)
        worker_index, kept = compacted(worker, sizes.num_workers)

        ability = rng.normal(
            rng.uniform(*self.ability_mean), rng.uniform(*self.ability_spread), len(kept)
        )
        difficulty = rng.normal(
            rng.uniform(*self.difficulty_mean), rng.uniform(*self.difficulty_spread), tasks
        )
        discrimination = rng.uniform(
            rng.uniform(*self.discrimination_low), rng.uniform(*self.discrimination_high), tasks
        )
        guessing_low, guessing_high = 1.0 / options, rng.uniform(*self.guessing_high)
        if guessing_high <= guessing_low:
            # Few options: blind guessing alone exceeds the published upper end.
            guessing_high = guessing_low + 0.05
        guessing = rng.uniform(guessing_low, guessing_high, tasks)

        true_option = rng.integers(0, options, tasks, dtype=np.int32)
        right = probability_correct(
            ability[worker_index],
            difficulty[task_index],
            discrimination[task_index],
            guessing[task_index],
        )
        return SimulatedCrowd(
            task_index=task_index,
            worker_index=worker_index,
            option_index=draw_answers(rng, true_option[task_index], right, options),
            true_option=true_option,
            num_options=options,
            worker_ability=ability,
            task_difficulty=difficulty,
            task_discrimination=discrimination,
            task_guessing=guessing,
        )


def probability_correct(
    ability: FloatArray, difficulty: FloatArray, discrimination: FloatArray, guessing: FloatArray
) -> FloatArray:
    """Return c + (1 - c) sigmoid(1.7 alpha (theta - beta)), elementwise."""
    advantage = _LOGISTIC_SCALE * discrimination * (ability - difficulty)
    # tanh does not overflow where exp does.
    skill: FloatArray = guessing + (1.0 - guessing) * 0.5 * (1.0 + np.tanh(0.5 * advantage))
    return skill


def draw_answers(
    rng: np.random.Generator, true_option: IntArray, right: FloatArray, num_options: int
) -> IntArray:
    """Draw one answer per annotation: the truth with probability `right` [E], else one of the
    K - 1 >= 1 other options, all alike. `true_option` is that of each annotation's task, [E]."""
    shift = rng.integers(1, num_options, len(right), dtype=np.int32)
    shift[rng.random(len(right)) < right] = 0
    return (true_option + shift) % np.int32(num_options)
