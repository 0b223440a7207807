"""Accuracy of a model on fixed synthetic crowds, beside majority voting's on the same.

Letters: T tasks, B crowds, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.pretraining.objective import Tensors, loss_of, outputs_of
from crowdfm_core.pretraining.packing import PackedCrowds, draw_packed_crowds, stream_rng
from crowdfm_core.pretraining.recipe import Mechanism, Recipe

__all__ = ["Validation", "ValidationCrowds", "draw_validation_crowds", "validate"]

_CROWDS_PER_PACK = 16


@dataclass(frozen=True)
class ValidationCrowds:
    """Crowds of one mechanism, drawn once per run."""

    mechanism: Mechanism
    packs: tuple[PackedCrowds, ...]
    majority_vote_accuracy: float


@dataclass(frozen=True)
class Validation:
    """Means over crowds, then over mechanisms by share; accuracies are in [0, 1]."""

    loss: float
    accuracy: float
    majority_vote_accuracy: float
    accuracy_of_mechanism: dict[str, float]


def draw_validation_crowds(recipe: Recipe) -> list[ValidationCrowds]:
    """Draw the validation crowds of a run: a function of the recipe alone."""
    drawn = []
    for place, mechanism in enumerate(recipe.mechanisms):
        packs = []
        for start in range(0, recipe.validation.crowds, _CROWDS_PER_PACK):
            rng = stream_rng(recipe.seed, "validation", place * 1_000_000 + start)
            size = min(_CROWDS_PER_PACK, recipe.validation.crowds - start)
            packs.append(
                draw_packed_crowds(mechanism.crowds, rng, num_crowds=size, model=recipe.model)
            )
        credits = [
            count_votes(crowd.task_index, crowd.option_index, num_tasks=crowd.num_tasks)
            .credit(crowd.true_option)
            .mean()
            for pack in packs
            for crowd in pack.crowds
        ]
        drawn.append(ValidationCrowds(mechanism, tuple(packs), float(np.mean(credits))))
    return drawn


@torch.no_grad()
def validate(
    recipe: Recipe, weights: Tensors, crowds: list[ValidationCrowds], ops: TorchOps
) -> Validation:
    """Measure `weights` on the crowds, one draw of option vectors each."""
    accuracy, losses = {}, []
    for group in crowds:
        right: list[float] = []
        loss = 0.0
        for pack in group.packs:
            logits = outputs_of(recipe, weights, pack, ops).logits[-1]
            loss += float(loss_of(logits, pack)) * len(pack.crowds)
            right.extend(_accuracy_of_crowds(logits.cpu().numpy(), pack))
        accuracy[group.mechanism.name] = float(np.mean(right))
        losses.append(loss / len(right))
    shares = np.array([group.mechanism.share for group in crowds])
    shares = shares / shares.sum()
    return Validation(
        loss=float(shares @ losses),
        accuracy=float(shares @ list(accuracy.values())),
        majority_vote_accuracy=float(shares @ [g.majority_vote_accuracy for g in crowds]),
        accuracy_of_mechanism=accuracy,
    )


def _accuracy_of_crowds(logits: np.ndarray, pack: PackedCrowds) -> np.ndarray:
    """Share of tasks per crowd, [B], whose true option has the largest logit."""
    first = np.searchsorted(pack.candidate_task, np.arange(pack.graph.num_tasks))
    known = pack.true_candidate >= 0
    right = known & (logits[pack.true_candidate] == np.maximum.reduceat(logits, first))
    counts = np.bincount(pack.task_crowd, weights=right, minlength=len(pack.crowds))
    shares: np.ndarray = counts / pack.tasks_per_crowd
    return shares
