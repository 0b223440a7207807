"""What the layers of the unrolled model hand on. Letters: see candidates.py; D width."""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.models.operations import Array

__all__ = ["Learned", "Pooled", "TaskStates"]


@dataclass(frozen=True)
class TaskStates:
    """states [C, D] of the candidates; logits, log posteriors and posteriors, [C, 1] each."""

    states: Array
    logits: Array
    log_posterior: Array
    posterior: Array


@dataclass(frozen=True)
class Learned:
    """Plain sums over tasks and annotations, from the states before a layer.

    rows [Q, D + 1]: of values and of p over each row's annotations; groups [I, D + 1]: of
    normalised states and of p over the tasks of a component, per option.
    """

    rows: Array
    groups: Array


@dataclass(frozen=True)
class Pooled:
    """Plain sums over the rows of a component, per answer and true option.

    counts [., 1]: of the expected counts; states [., D + 1]: of normalised states, weighted by how
    well their workers are known, and of these weights.
    """

    counts: Array
    states: Array
