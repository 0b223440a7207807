"""The files of a run: its log, its checkpoint, its recipe."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crowdfm_core.errors import WeightsError
from crowdfm_core.pretraining.recipe import Recipe, recipe_from_mapping

__all__ = ["Checkpoint", "append_log", "load_checkpoint", "read_log", "rewind_log"]

_FORMAT = 1


@dataclass
class Checkpoint:
    """All state of a run; random numbers need none, as each step has its own stream."""

    recipe: Recipe
    step: int  # steps done
    seconds: float  # of training, over all resumptions
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimiser: dict[str, Any]
    origin: dict[str, Any] | None = None  # settings, steps, seconds of the run it started from

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "format": _FORMAT,
                "recipe": self.recipe.to_mapping(),
                "step": self.step,
                "seconds": self.seconds,
                "weights": {name: t.detach().cpu() for name, t in self.weights.items()},
                "average": {name: t.detach().cpu() for name, t in self.average.items()},
                "optimiser": self.optimiser,
                "origin": self.origin,
            },
            partial,
        )
        os.replace(partial, path)

    def account(self) -> dict[str, Any]:
        """Say how these weights were made, in plain values."""
        account = {
            "settings": self.recipe.to_mapping(),
            "steps": self.step,
            "training_seconds": round(self.seconds, 1),
        }
        return account | ({"started_from": self.origin} if self.origin else {})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; raises WeightsError if it is not one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"no checkpoint at {path}; train without --resume first") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise WeightsError(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise WeightsError(f"{path}: expected a checkpoint of format {_FORMAT}")
    return Checkpoint(
        recipe=recipe_from_mapping(state["recipe"], where=str(path)),
        step=state["step"],
        seconds=state["seconds"],
        weights=state["weights"],
        average=state["average"],
        optimiser=state["optimiser"],
        origin=state.get("origin"),
    )


def append_log(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON object as a line."""
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines of a log; a last line cut short by a crash is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines if line]


def rewind_log(path: Path, *, step: int) -> None:
    """Drop what was logged after `step`, which a resumed run will log again."""
    kept = [record for record in read_log(path) if record["step"] <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    os.replace(partial, path)
