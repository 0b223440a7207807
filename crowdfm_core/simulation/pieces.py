"""What the pieces of a simulated crowd have in common: a switch, checked ranges, a stream each.

Letters: N rows of a table, E draws, K options.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import ConfigError
from crowdfm_core.simulation.crowd import FloatArray, IntArray

__all__ = [
    "BoolArray",
    "Checked",
    "Piece",
    "Places",
    "Range",
    "Streams",
    "draw_rows",
    "log_uniform",
    "logit",
    "sigmoid",
]

BoolArray = npt.NDArray[np.bool_]
Places = npt.NDArray[np.integer[Any]]  # indices of any width
Range = tuple[float, float]

_ANYTHING = (float("-inf"), float("inf"))
_CHANCE = (0.0, 1.0)
_CERTAIN = 8.0  # largest absolute logit of an accuracy: 0.9997


@dataclass(frozen=True)
class Checked:
    """Settings whose `bounds` name the smallest and largest admissible value of each field.

    A field is a number or a range [low, high]; all that is out of bounds is reported at once.
    """

    bounds: ClassVar[dict[str, Range]] = {}

    def __post_init__(self) -> None:
        problems = []
        for name in (f.name for f in fields(self)):
            low, high = self.bounds.get(name, _CHANCE if name == "probability" else _ANYTHING)
            value = getattr(self, name)
            if isinstance(value, Checked):
                continue
            ends = value if isinstance(value, tuple) else (value, value)
            if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
                kind = "low <= high" if isinstance(value, tuple) else "a number"
                problems.append(f"{name}: expected {kind} in [{low:g}, {high:g}], got {value}")
        if problems:
            raise ConfigError(problems, where=type(self).__name__)


@dataclass(frozen=True)
class Piece(Checked):
    """One mechanism: `probability` is the chance that a drawn crowd has it at all; 0 is off."""

    probability: float = 1.0

    def is_on(self, rng: np.random.Generator) -> bool:
        """Draw whether this crowd has the mechanism."""
        return bool(rng.random() < self.probability)


class Streams:
    """A stream of random numbers per piece, by name.

    What one piece draws never moves the numbers of another one, so that a mechanism can be
    switched off with everything else of a crowd left as it was.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        """Take one number from `rng`; all streams are functions of it and of their names."""
        self._seed = int(rng.integers(2**63))

    def __getitem__(self, name: str) -> np.random.Generator:
        """Return the stream of `name`, from its start."""
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])


def log_uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """Draw between two ends > 0, uniformly on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(ends[0]), np.log(ends[1]))))


def sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return 1 / (1 + exp(-x)) without overflow, elementwise."""
    half: npt.NDArray[Any] = 0.5 * (1.0 + np.tanh(0.5 * x))
    return half


def logit(probability: FloatArray) -> FloatArray:
    """Return log(p / (1 - p)), clipped to [-8, 8], elementwise."""
    bound = 1.0 / (1.0 + np.exp(_CERTAIN))
    inside = np.clip(probability, bound, 1.0 - bound)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def draw_rows(rng: np.random.Generator, table: FloatArray, row: Places) -> IntArray:
    """Draw one column per entry of `row` [E], by the probabilities in that row of `table` [N, K].

    All rows' distribution functions are laid end to end, so that one binary search per draw finds
    its column and nothing of size [E, K] is built.
    """
    num_rows, num_columns = table.shape
    steps = np.cumsum(table, axis=1, dtype=np.float64)
    steps /= steps[:, -1:]
    steps += np.arange(num_rows)[:, None]
    place = np.searchsorted(steps.ravel(), row + rng.random(len(row)), side="right")
    column = place - row.astype(np.int64) * num_columns
    return np.asarray(np.minimum(column, num_columns - 1), np.int32)
