"""What blocks of tasks and shards of workers send each other between supersteps.

A superstep reads all messages to a part, changes its state, and sends messages that the next one
reads. Sums are added in the order of their senders and in float64, so that a result depends on how
a component is cut, but not on where or how often a part runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from crowdfm_core.candidates import ComponentSizes

__all__ = ["Cut", "Keyed", "Message", "Part", "Superstep", "bodies", "sum_of", "total_at"]

Body = TypeVar("Body")


class Part(NamedTuple):
    """A block of tasks, or a shard of workers, of one component."""

    is_shard: bool
    number: int


class Superstep(NamedTuple):
    """What blocks or shards do at one time; layer is 0 where there is none."""

    of_shards: bool
    name: str
    layer: int = 0


@dataclass(frozen=True)
class Cut:
    """How a component of some sizes is cut."""

    blocks: int
    shards: int
    sizes: ComponentSizes


@dataclass(frozen=True)
class Message:
    """body: a dataclass of arrays, which can be pickled."""

    to: Part
    sender: Part
    body: object


@dataclass(frozen=True)
class Keyed:
    """Rows of a table of which a part has some: keys [N], distinct; values [N, F]."""

    keys: npt.NDArray[Any]
    values: npt.NDArray[Any]


def bodies(inbox: Iterable[Message], kind: type[Body]) -> dict[int, Body]:
    """Bodies of one kind by the number of their sender, in that order."""
    found = [message for message in inbox if isinstance(message.body, kind)]
    found.sort(key=lambda message: message.sender)
    return {message.sender.number: cast(Body, message.body) for message in found}


def sum_of(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Add up arrays of one shape in float64."""
    total: npt.NDArray[np.float64] = np.sum(parts, axis=0, dtype=np.float64)
    return total


def total_at(
    keys: npt.NDArray[Any], parts: Iterable[Keyed], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Add up the tables of all parts and return the rows of some keys [N], as [N, F].

    keys are sorted and distinct; what parts have of others is left out.
    """
    parts = list(parts)
    total = np.zeros((len(keys), parts[0].values.shape[1]))
    for part in parts:
        place = np.searchsorted(keys, part.keys)
        found = np.flatnonzero(place < len(keys))
        found = found[keys[place[found]] == part.keys[found]]
        total[place[found]] += part.values[found]
    return total.astype(dtype)
