"""What can be evaluated: classical methods by name, and frozen weights from files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crowdfm_core.errors import ConfigError, WeightsError
from crowdfm_core.evaluation.datasets import LabelledDataset, answers_of, batch_of
from crowdfm_core.evaluation.measures import (
    Prediction,
    prediction_of_result,
    prediction_of_scored,
)
from crowdfm_core.methods.registry import CROWDFM, DEFAULT_MAX_BYTES, METHODS, aggregate
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.scoring import Scorer
from crowdfm_core.weights import (
    FrozenWeights,
    from_published_layout,
    load_weights,
    shipped_weights_path,
)

__all__ = ["Contender", "classical", "frozen", "read_weights", "weights_name"]

_PUBLISHED_SUFFIXES = (".pt", ".pth")
_MAX_LISTED = 100  # options per task whose probabilities frozen weights list


@dataclass(frozen=True)
class Contender:
    """A method with a name. uses_seed says whether the seed, the second argument of `predict`,
    makes a difference. published_names are those that a published table may call it, lower case.
    """

    name: str
    published_names: tuple[str, ...]
    uses_seed: bool
    predict: Callable[[LabelledDataset, int], Prediction]


def classical(name: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Contender:
    """A method of the registry; raises ConfigError for an unknown name."""
    if name not in METHODS:
        known = ", ".join((*METHODS, CROWDFM.name))
        raise ConfigError([f"method {name!r}: expected one of {known}"], where="methods")
    method = METHODS[name]

    def predict(dataset: LabelledDataset, seed: int) -> Prediction:
        result = aggregate(name, answers_of(dataset), seed=seed, max_bytes=max_bytes)
        return prediction_of_result(dataset, result)

    return Contender(name, (name, method.short_name.lower()), method.uses_seed, predict)


def frozen(
    name: str, weights: FrozenWeights, *, device: str = "cpu", num_draws: int = 4
) -> Contender:
    """Frozen weights; the seed changes the option vectors of models that have any."""
    scorer = Scorer(weights, device=device, num_draws=num_draws, max_probabilities=_MAX_LISTED)

    def predict(dataset: LabelledDataset, seed: int) -> Prediction:
        return prediction_of_scored(dataset, scorer.score(batch_of(dataset, seed=seed)))

    uses_seed = isinstance(weights.config, AttentionConfig)
    return Contender(name, (name.lower(), CROWDFM.short_name.lower()), uses_seed, predict)


def weights_name(given: str) -> tuple[str, str]:
    """Split NAME=PATH; without a name it is the folder's or the file's, and crowdfm for default."""
    found = re.fullmatch(r"([\w.-]+)=(.+)", given)
    if found:
        return found[1], found[2]
    path = Path(given)
    if given == "default" or path.resolve() == shipped_weights_path():
        return CROWDFM.name, given
    return (path.stem if path.suffix in _PUBLISHED_SUFFIXES else path.resolve().name), given


def read_weights(path: str) -> FrozenWeights:
    """Read a folder of frozen weights, `default`, or a file of the published checkpoint (.pt).

    Raises WeightsError, also where a published checkpoint is given and torch is not installed.
    """
    if Path(path).suffix not in _PUBLISHED_SUFFIXES:
        return load_weights(path)
    try:
        from crowdfm_core.backends.torch_checkpoint import read_tensors  # nothing else needs torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: a published checkpoint is read with torch; "
            "install the project with its extra: .[torch]"
        ) from error
    return from_published_layout(read_tensors(path))
