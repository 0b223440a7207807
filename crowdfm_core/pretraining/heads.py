"""Linear read-outs of ability and difficulty from frozen embeddings, fitted in closed form.

Letters: N rows (workers or tasks), D width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.pretraining.objective import Tensors, outputs_of
from crowdfm_core.pretraining.packing import draw_packed_crowds, stream_rng
from crowdfm_core.pretraining.recipe import Recipe

__all__ = ["Head", "fit_heads", "fit_ridge", "spearman"]

FloatArray = npt.NDArray[np.floating[Any]]

_CROWDS_PER_PACK = 32
_TEST_POSITION = 1_000_000  # far behind the positions that are fitted on
_RIDGE = 1e-3  # penalty per row, on embeddings of variance about 1


@dataclass(frozen=True)
class Head:
    """value = embedding @ weight + bias, and its correlations with the truth on other crowds.

    `within` correlations are means over single crowds: all that a user with one project sees.
    """

    weight: npt.NDArray[np.float32]  # [D]
    bias: npt.NDArray[np.float32]  # [1]
    pearson: float
    spearman: float
    pearson_within: float
    spearman_within: float

    def correlations(self) -> dict[str, float]:
        """The four correlations, rounded to four places."""
        plain = asdict(self)
        return {name: round(plain[name], 4) for name in plain if name not in ("weight", "bias")}


@torch.no_grad()
def fit_heads(
    recipe: Recipe, weights: Tensors, ops: TorchOps, *, num_crowds: int = 512
) -> dict[str, Head]:
    """Fit `ability` and `difficulty` on fresh crowds and measure them on as many others.

    A head is left out when no mechanism of the recipe has its parameter.
    """
    fitted = _samples(recipe, weights, ops, first=0, num_crowds=num_crowds)
    tested = _samples(recipe, weights, ops, first=_TEST_POSITION, num_crowds=num_crowds)
    heads = {}
    for name, (embeddings, truth, _) in fitted.items():
        if not len(truth):
            continue
        weight, bias = fit_ridge(embeddings, truth, penalty=_RIDGE)
        test_embeddings, test_truth, crowd = tested[name]
        estimate = test_embeddings @ weight + bias
        per_crowd = [
            (estimate[crowd == number], test_truth[crowd == number]) for number in np.unique(crowd)
        ]
        heads[name] = Head(
            weight=weight.astype(np.float32),
            bias=np.array([bias], np.float32),
            pearson=_pearson(estimate, test_truth),
            spearman=spearman(estimate, test_truth),
            pearson_within=float(np.mean([_pearson(*pair) for pair in per_crowd])),
            spearman_within=float(np.mean([spearman(*pair) for pair in per_crowd])),
        )
    return heads


def fit_ridge(
    embeddings: FloatArray, truth: FloatArray, *, penalty: float
) -> tuple[FloatArray, float]:
    """Least squares of truth [N] on embeddings [N, D], centred, with penalty * N * |weight|^2."""
    centre, mean = embeddings.mean(0), float(truth.mean())
    centred = embeddings - centre
    gram = centred.T @ centred + penalty * len(truth) * np.eye(centred.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (truth - mean))
    return weight, mean - float(centre @ weight)


def spearman(left: FloatArray, right: FloatArray) -> float:
    """Rank correlation of two arrays [N] of continuous values, in [-1, 1]."""
    return _pearson(np.argsort(np.argsort(left)), np.argsort(np.argsort(right)))


def _pearson(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    return float(np.corrcoef(left, right)[0, 1])


def _samples(
    recipe: Recipe, weights: Tensors, ops: TorchOps, *, first: int, num_crowds: int
) -> dict[str, tuple[FloatArray, FloatArray, npt.NDArray[Any]]]:
    """Embeddings [N, D], true parameter [N] and crowd [N] per head, over fresh crowds."""
    parts: dict[str, list[tuple[FloatArray, FloatArray, npt.NDArray[Any]]]] = {
        "ability": [],
        "difficulty": [],
    }
    for place in range(0, num_crowds, _CROWDS_PER_PACK):
        pack = draw_packed_crowds(
            recipe.generator(),
            stream_rng(recipe.seed, "heads", first + place),
            num_crowds=min(_CROWDS_PER_PACK, num_crowds - place),
            model=recipe.model,
        )
        outputs = outputs_of(recipe, weights, pack, ops)
        ability = np.concatenate([crowd.worker_ability for crowd in pack.crowds])
        difficulty = np.concatenate([crowd.task_difficulty for crowd in pack.crowds])
        for name, embeddings, truth, crowd in (
            ("ability", outputs.workers, ability, pack.worker_crowd),
            ("difficulty", outputs.tasks, difficulty, pack.task_crowd),
        ):
            known = np.isfinite(truth)
            rows = embeddings.cpu().numpy().astype(np.float64)[known]
            parts[name].append((rows, truth[known], crowd[known] + place))
    return {
        name: (
            np.concatenate([rows for rows, _, _ in found]),
            np.concatenate([truth for _, truth, _ in found]),
            np.concatenate([crowd for _, _, crowd in found]),
        )
        for name, found in parts.items()
    }
