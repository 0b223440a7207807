"""The head that calibrates (crowdfm_core/calibration.py), fitted and measured on synthetic crowds.

Letters: N tasks, K candidates of the task that has most, C candidates of a pack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.backends.unrolled_numpy import CompiledUnrolledModel
from crowdfm_core.calibration import (
    MAX_LOG_FACTOR,
    calibration_factors,
    calibration_features,
    sureness_sums,
)
from crowdfm_core.evaluation.measures import Prediction, log_loss, reliability
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.pretraining.head_samples import draws, some_of_each
from crowdfm_core.pretraining.networks import Network, train
from crowdfm_core.pretraining.objective import Tensors
from crowdfm_core.pretraining.packing import pack_crowds
from crowdfm_core.pretraining.recipe import Recipe
from crowdfm_core.read_outs import CALIBRATION_HEAD, PREFIX, has_head
from crowdfm_core.simulation import (
    CrowdGenerator,
    DawidSkeneCrowds,
    GroupedCrowds,
    RichCrowds,
    SubtypedCrowds,
)

__all__ = [
    "CalibrationFigures",
    "CalibrationRows",
    "draw_calibration_rows",
    "fit_calibration",
    "measure_calibration",
    "with_shared_errors",
]

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

_POSITION = 250_000  # of the crowds that are fitted on, behind those of ability and difficulty
_TEST_POSITION = 1_250_000
_CROWDS_PER_HEAD_CROWD = 4  # a crowd is one row of features, where other heads have hundreds
_HIDDEN, _STEPS = 12, 400
_NEVER = -1e4  # log probability of what is no candidate; infinity would spoil gradients


@dataclass(frozen=True)
class CalibrationRows:
    """Tasks whose truth is a candidate, at most 200 of each crowd."""

    features: FloatArray  # [N, CALIBRATION_FEATURES] of the task's component
    log_posterior: FloatArray  # [N, K] uncalibrated, _NEVER behind the candidates
    truth: IntArray  # [N] place of the true option
    crowd: IntArray  # [N]


@dataclass(frozen=True)
class CalibrationFigures:
    """Means over fresh crowds: log loss in nats and expected calibration error of the labels'
    probabilities, as the model gives them (raw_*) and calibrated."""

    crowds: int
    raw_log_loss: float
    log_loss: float
    raw_calibration_error: float
    calibration_error: float

    def to_mapping(self) -> dict[str, float]:
        """Plain values, rounded to four places."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def with_shared_errors(recipe: Recipe) -> Recipe:
    """The recipe's mechanisms in which workers err alike, as real ones do; all where none is such.

    Where workers err independently of each other the model is less sure than it may be, which the
    features alone do not tell.
    """
    shared = tuple(each for each in recipe.mechanisms if _err_alike(each.crowds))
    return replace(recipe, mechanisms=shared or recipe.mechanisms)


def _err_alike(crowds: CrowdGenerator) -> bool:
    if isinstance(crowds, DawidSkeneCrowds):
        return crowds.shared_bias[1] > 0
    return isinstance(crowds, RichCrowds | SubtypedCrowds | GroupedCrowds)


def fit_calibration(recipe: Recipe, weights: Tensors, *, num_crowds: int) -> dict[str, FloatArray]:
    """Minimise the log loss on four fresh crowds, of `with_shared_errors`, per head crowd.

    Returns tensors named as in FrozenWeights.heads; num_crowds: that other heads are fitted on.
    """
    number = _CROWDS_PER_HEAD_CROWD * num_crowds
    rows = draw_calibration_rows(
        with_shared_errors(recipe), weights, first=_POSITION, num_crowds=number
    )
    torch.manual_seed(recipe.seed)
    network = Network(rows.features, hidden=_HIDDEN, outputs=1)
    features = torch.as_tensor(rows.features, dtype=torch.float32)
    log_posterior = torch.as_tensor(rows.log_posterior, dtype=torch.float32)
    truth = torch.as_tensor(rows.truth)

    def loss_of(place: torch.Tensor) -> torch.Tensor:
        log_factor = network(features[place]).clamp(-MAX_LOG_FACTOR, MAX_LOG_FACTOR)
        scaled = log_factor.exp() * log_posterior[place]
        return torch.nn.functional.cross_entropy(scaled, truth[place])

    train(list(network.parameters()), loss_of, num_rows=len(truth), steps=_STEPS, seed=recipe.seed)
    return {f"{PREFIX}{CALIBRATION_HEAD}.{part}": t for part, t in network.tensors().items()}


def measure_calibration(
    recipe: Recipe,
    weights: Tensors,
    heads: Mapping[str, FloatArray],
    *,
    num_crowds: int,
) -> dict[str, CalibrationFigures]:
    """Figures on fresh crowds of a recipe, which need not be the one the head was fitted on.

    `shared_errors`: of `with_shared_errors`; `all`: of all mechanisms. Empty without the head.
    """
    if not has_head(heads, CALIBRATION_HEAD):
        return {}
    populations = {"shared_errors": with_shared_errors(recipe), "all": recipe}
    return {
        name: _figures(
            heads,
            draw_calibration_rows(population, weights, first=_TEST_POSITION, num_crowds=num_crowds),
        )
        for name, population in populations.items()
    }


def _figures(heads: Mapping[str, FloatArray], rows: CalibrationRows) -> CalibrationFigures:
    factor = calibration_factors(heads, rows.features)
    raw, calibrated = _judged(rows, np.ones(len(factor))), _judged(rows, factor)
    return CalibrationFigures(
        crowds=len(np.unique(rows.crowd)),
        raw_log_loss=raw[0],
        log_loss=calibrated[0],
        raw_calibration_error=raw[1],
        calibration_error=calibrated[1],
    )


def draw_calibration_rows(
    recipe: Recipe, weights: Tensors, *, first: int, num_crowds: int
) -> CalibrationRows:
    """Rows from the crowds at positions first, first + 1, ... of an unrolled model's recipe."""
    assert isinstance(recipe.model, UnrolledConfig)
    ops = NumpyOps()  # whatever the heads' device: no gradients are needed, and its loops are fast
    tensors = {name: ops.array(tensor.cpu().numpy()) for name, tensor in weights.items()}
    model = CompiledUnrolledModel(recipe.model, tensors, ops)
    parts: list[CalibrationRows] = []
    for rng, crowds, _, position in draws(recipe, first, num_crowds):
        packed = pack_crowds(crowds, rng, model=recipe.model)
        layout = packed.layout
        assert layout is not None  # packed for this model
        log_posterior = model.run(layout).log_posterior[:, 0]
        features = calibration_features(layout, sureness_sums(layout, log_posterior))
        kept = some_of_each(rng, packed.task_crowd, packed.true_candidate >= 0)
        parts.append(
            CalibrationRows(
                features=features[layout.component_of_task[kept]],
                log_posterior=_padded(log_posterior, layout.candidate_start, kept),
                truth=packed.true_candidate[kept] - layout.candidate_start[kept],
                crowd=packed.task_crowd[kept] + position,
            )
        )
    widest = max(part.log_posterior.shape[1] for part in parts)
    return CalibrationRows(
        features=np.concatenate([part.features for part in parts]),
        log_posterior=np.concatenate([_widened(part.log_posterior, widest) for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
        crowd=np.concatenate([part.crowd for part in parts]),
    )


def _padded(values: FloatArray, start: IntArray, tasks: IntArray) -> FloatArray:
    """Values [C] of some tasks' candidates as one row per task, _NEVER behind the last."""
    count = start[tasks + 1] - start[tasks]
    place = np.arange(int(count.max(initial=0)))
    within = np.minimum(start[tasks][:, None] + place, len(values) - 1)
    return np.where(place < count[:, None], values[within], _NEVER).astype(np.float32)


def _widened(values: FloatArray, width: int) -> FloatArray:
    missing = ((0, 0), (0, width - values.shape[1]))
    return np.pad(values, missing, constant_values=_NEVER)


def _judged(rows: CalibrationRows, factor: FloatArray) -> tuple[float, float]:
    """Log loss and calibration error of the rows with these factors [N], means over crowds."""
    scaled = factor[:, None] * rows.log_posterior.astype(np.float64)
    probability = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    largest, true = probability.max(axis=1), probability[np.arange(len(factor)), rows.truth]
    losses, errors = [], []
    for crowd in np.unique(rows.crowd):
        mine = rows.crowd == crowd
        is_right = (true[mine] == largest[mine]).astype(np.float64)
        prediction = Prediction(is_right, largest[mine], true[mine])
        losses.append(log_loss(prediction))
        errors.append(reliability(prediction).calibration_error())
    return float(np.mean(losses)), float(np.mean(errors))
