"""Which simulated crowds are worth training on.

Letters: T tasks, K options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np

from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.simulation.crowd import SimulatedCrowd
from crowdfm_core.simulation.pieces import Checked, Range

__all__ = ["Acceptance", "Verdict"]

_Drawn = TypeVar("_Drawn")
Verdict = Literal["hopeless", "trivial", "accepted"]


@dataclass(frozen=True)
class Acceptance(Checked):
    """Draws that teach nothing are drawn again, at most `attempts` times in all; then the last
    one is taken, so that no setting can hang a stream. With attempts = 1 everything is taken.
    A hopeless draw raises the low end of the crowd's strength to its own, a trivial one lowers
    the high end.

    hopeless: majority voting's recall, averaged over the classes that occur, is less than
    `least_lift` of the way from 1 / K to 1. trivial: its accuracy is above `largest_accuracy`.
    """

    attempts: int = 6
    least_lift: float = 0.1
    largest_accuracy: float = 0.99
    bounds: ClassVar[dict[str, Range]] = {
        "attempts": (1, 1000),
        "least_lift": (-1.0, 1.0),
        "largest_accuracy": (0.0, 1.0),
    }

    def verdict(self, crowd: SimulatedCrowd) -> Verdict:
        """Judge one crowd."""
        votes = count_votes(crowd.task_index, crowd.option_index, num_tasks=crowd.num_tasks)
        credit = votes.credit(crowd.true_option)
        if credit.mean() > self.largest_accuracy:
            return "trivial"
        counts = np.bincount(crowd.true_option, minlength=crowd.num_options)
        right = np.bincount(crowd.true_option, weights=credit, minlength=crowd.num_options)
        recall = (right[counts > 0] / counts[counts > 0]).mean()
        chance = 1.0 / crowd.num_options
        return "hopeless" if recall < chance + self.least_lift * (1.0 - chance) else "accepted"

    def draw(
        self,
        rng: np.random.Generator,
        strength: Range,
        attempt: Callable[[float], tuple[SimulatedCrowd, _Drawn]],
    ) -> _Drawn:
        """Draw crowds of strengths from a range until one is accepted.

        attempt: strength -> a crowd, and what to return for it.
        """
        low, high = strength
        for left in range(self.attempts - 1, -1, -1):
            drawn_strength = rng.uniform(low, high)
            crowd, drawn = attempt(drawn_strength)
            verdict = self.verdict(crowd) if left else "accepted"
            if verdict == "accepted":
                break
            if verdict == "hopeless":
                low = drawn_strength
            else:
                high = drawn_strength
        return drawn
