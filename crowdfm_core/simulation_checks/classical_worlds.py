"""The worlds of the classical models at fixed sizes, each with the method that is right there.

Letters: T tasks, W workers, K options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crowdfm_core.simulation import (
    Acceptance,
    CrowdGenerator,
    DawidSkeneCrowds,
    GladCrowds,
    OneCoinCrowds,
    Shape,
)
from crowdfm_core.simulation.classes import ClassImbalance

__all__ = ["ANSWERS_PER_TASK", "OPTIONS", "TASKS", "WORKERS", "WORLDS", "World"]

OPTIONS = (2, 4, 8)
ANSWERS_PER_TASK = (5, 20)
TASKS = 1000
WORKERS = 60

# Mean accuracy of a worker, as a share of the way from 1 / K to 1, by answers per task and K: so
# that majority voting is right on 65 to 90 % of the tasks.
_STRENGTH = {5: {2: 0.3, 4: 0.4, 8: 0.4}, 20: {2: 0.2, 4: 0.2, 8: 0.2}}
# Of crowds with a shared bias, whose accuracy falls by it.
_BIASED_STRENGTH = {5: {2: 0.5, 4: 0.6, 8: 0.6}, 20: {2: 0.3, 4: 0.45, 8: 0.45}}


@dataclass(frozen=True)
class World:
    """One classical model. `right` names the methods that fit it, of which the best one over the
    drawn crowds of a cell counts: a choice in the methods' favour."""

    name: str
    crowds: Callable[[int, int], CrowdGenerator]  # K, answers per task -> 1,000 tasks, 60 workers
    right: tuple[str, ...]


def _sizes(options: int, answers: int) -> dict[str, Any]:
    shape = Shape.exact(tasks=TASKS, workers=WORKERS, options=options, answers_per_task=answers)
    return {"shape": shape, "class_imbalance": ClassImbalance(probability=0.0)}


def _as_drawn(options: int, answers: int) -> dict[str, Any]:
    strength = _STRENGTH[answers][options]
    return {
        **_sizes(options, answers),
        "strength": (strength, strength),
        "acceptance": Acceptance(attempts=1),
    }


def _independent(options: int, answers: int) -> CrowdGenerator:
    return DawidSkeneCrowds(concentration=(6.0, 6.0), **_as_drawn(options, answers))


def _biased(options: int, answers: int) -> CrowdGenerator:
    """Three tenths of every row are one answer distribution of the whole crowd, and classes are
    unequally hard. Crowds whose recall, over the classes, is less than a fifth of the way from
    1 / K to 1 are drawn again: there even the names of the classes are lost."""
    strength = _BIASED_STRENGTH[answers][options]
    return DawidSkeneCrowds(
        concentration=(6.0, 6.0),
        shared_bias=(0.3, 0.3),
        class_spread=(0.7, 0.7),
        strength=(strength, strength),
        acceptance=Acceptance(attempts=100, least_lift=0.2, largest_accuracy=1.0),
        **_sizes(options, answers),
    )


def _one_coin(options: int, answers: int) -> CrowdGenerator:
    return OneCoinCrowds(concentration=(6.0, 6.0), **_as_drawn(options, answers))


def _glad(options: int, answers: int) -> CrowdGenerator:
    return GladCrowds(
        ability_spread=(1.0, 1.0), ease_spread=(1.0, 1.0), **_as_drawn(options, answers)
    )


WORLDS = {
    world.name: world
    for world in (
        World("independent_confusions", _independent, ("dawid_skene",)),
        World("biased_confusions", _biased, ("dawid_skene",)),
        World("one_coin", _one_coin, ("one_coin_dawid_skene",)),
        World("glad", _glad, ("glad",)),
    )
}
