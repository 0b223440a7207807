"""Learning-rate schedule, optimiser and the running average of weights."""

from __future__ import annotations

import math

import torch

from crowdfm_core.pretraining.recipe import TrainingSettings

__all__ = ["RunningAverage", "learning_rate", "make_optimiser"]

Tensors = dict[str, torch.Tensor]


def learning_rate(settings: TrainingSettings, *, step: int, progress: float) -> float:
    """Linear warm-up over the first steps, times a cosine from the peak to the final rate.

    progress: share of the run that is done, in [0, 1].
    """
    peak, final = settings.learning_rate, settings.final_learning_rate
    cosine = final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return cosine * min(1.0, (step + 1) / max(settings.warmup_steps, 1))


def make_optimiser(settings: TrainingSettings, weights: Tensors) -> torch.optim.AdamW:
    """AdamW that decays matrices alone: biases, norms and initial states stay free."""
    matrices = [tensor for name, tensor in weights.items() if name.endswith(".weight")]
    others = [tensor for name, tensor in weights.items() if not name.endswith(".weight")]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, settings.second_moment_decay),
    )


class RunningAverage:
    """Exponential average of the weights over steps; these are the weights that are frozen."""

    def __init__(self, weights: Tensors, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    @torch.no_grad()
    def update(self, weights: Tensors, *, step: int) -> None:
        """Move the average towards `weights` after the given step, counted from 0.

        Early on the average reaches back over about a tenth of the steps so far only, so that
        the random start is forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.weights.values()),
            [weights[name].detach() for name in self.weights],
            1.0 - decay,
        )
