"""How sure the model may be of its labels: one factor per component on its log posterior.

    p'[t,k] = p[t,k] ** f / sum over k of p[t,k] ** f,   f = exp(head(features of the component))

This is temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017,
section 4.2) with a temperature that depends on what the component looks like. As f is positive,
no option changes its rank. All that the features need of the tasks are plain sums, so that the
blocks of a component can add them up. Letters: T tasks, C candidates, J components.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.calibration_kernels import rescale, sureness
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.read_outs import CALIBRATION_HEAD, Tensors, has_head, read_out

__all__ = [
    "MAX_LOG_FACTOR",
    "calibrate",
    "calibration_factors",
    "calibration_features",
    "sureness_sums",
]

MAX_LOG_FACTOR = 1.0  # the factor lies in [1/e, e], however odd the component

Floats = npt.NDArray[np.float64]


def sureness_sums(layout: CandidateGraph, log_posterior: npt.NDArray[Any]) -> Floats:
    """Sums over the tasks of each component, [J, 3], from the log posterior p [C].

    Of the largest p of a task; of the sum of p x vote share, which is the expected share of its
    answers that are right; and of the sum of squared vote shares, which is how often two of its
    answers agree.
    """
    of_task = sureness(
        log_posterior, layout.votes, layout.graph.tasks.degree, layout.candidate_start
    )
    component, number = layout.component_of_task, len(layout.components)
    return np.stack([np.bincount(component, column, number) for column in of_task.T], axis=1)


def calibration_features(layout: CandidateGraph, sums: Floats) -> Floats:
    """What the head sees of each component, [J, CALIBRATION_FEATURES].

    sums [J, 3]: `sureness_sums` over all tasks of the component, of which `layout` may be a part.
    """
    sizes = np.array([(of.annotations, of.tasks, of.options) for of in layout.components], float)
    annotations, tasks, options = np.maximum(sizes.reshape(-1, 3), 1).T
    means = sums / tasks[:, None]
    return np.column_stack([np.log(options), np.log(annotations / tasks), means])


def calibration_factors(heads: Tensors, features: npt.NDArray[Any]) -> Floats:
    """Factors [N] that the head gives components with these features [N, CALIBRATION_FEATURES]."""
    log_factor = read_out(heads, CALIBRATION_HEAD, features)
    return np.exp(np.clip(log_factor, -MAX_LOG_FACTOR, MAX_LOG_FACTOR))


def calibrate(
    heads: Tensors,
    layout: CandidateGraph,
    log_posterior: npt.NDArray[Any],
    *,
    sums: Floats | None = None,
) -> npt.NDArray[Any]:
    """Return the calibrated log posterior [C], or the same array where the weights lack the head.

    sums [J, 3]: `sureness_sums` over all tasks of the components, where `layout` holds a part.
    """
    if not has_head(heads, CALIBRATION_HEAD):
        return log_posterior
    if sums is None:
        sums = sureness_sums(layout, log_posterior)
    factors = calibration_factors(heads, calibration_features(layout, sums))
    calibrated: Floats = rescale(
        log_posterior, factors[layout.component_of_task], layout.candidate_start
    )
    return calibrated
