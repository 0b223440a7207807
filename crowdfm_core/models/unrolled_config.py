"""Sizes of the unrolled model, and the names and shapes of its weights.

Letters: D width, F hidden width, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.models.embeddings import TASK_SCALARS, WORKER_SCALARS

__all__ = ["UnrolledConfig"]

# Features beside the states, which `UnrolledModel` lists in this order.
_TASK_START = 5  # of a candidate and of a row, that the states start from
_ROW_START = 6
_ROW_SCALARS = 8
_CANDIDATE_SCALARS = 9
_TASK_SCALARS = 2


@dataclass(frozen=True)
class UnrolledConfig:
    """Sizes of the architecture.

    statistics: whether the classical models' enter. shared: whether all layers have the same
    weights, apart from how the statistics are smoothed and trusted.
    """

    width: int = 16
    layers: int = 5
    hidden: int = 48
    statistics: bool = True
    shared: bool = True

    def embedding_widths(self) -> dict[str, int]:
        """Width of what the read-outs see: ability from workers, difficulty from tasks."""
        return {
            "ability": 2 * self.width + WORKER_SCALARS,
            "difficulty": 2 * self.width + TASK_SCALARS,
        }

    def fan_in(self, name: str) -> int:
        """Inputs of a weight: its last axis but one is the one that is summed over."""
        return self.tensor_shapes()[name][-2]

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor; weights are [..., inputs, outputs]."""
        layers = 1 if self.shared else self.layers
        width, hidden = self.width, self.hidden
        shapes: dict[str, tuple[int, ...]] = {"output.weight": (width, 1)}
        for name, inputs in (("task", _TASK_START), ("row", _ROW_START)):
            shapes |= {
                f"start.{name}.hidden.weight": (inputs, hidden),
                f"start.{name}.hidden.bias": (hidden,),
                f"start.{name}.output.weight": (hidden, width),
                f"start.{name}.output.bias": (width,),
            }
        for norm in ("output", "value", "row", "message", "task"):
            stacked = () if norm == "output" else (layers,)
            shapes[f"{norm}.norm.scale"] = (*stacked, width)
            shapes[f"{norm}.norm.shift"] = (*stacked, width)
        shapes |= {
            "value.weight": (layers, width, 2 * width),
            "value.posterior.weight": (layers, 1, width),
            "row.own.weight": (layers, 3 * width + _ROW_SCALARS, hidden),
            "row.truth.weight": (layers, width, hidden),
            "row.worker.weight": (layers, width, hidden),
            "row.pooled.weight": (layers, width, hidden),
            "row.hidden.bias": (layers, hidden),
            "row.output.weight": (layers, hidden, width),
            "row.output.bias": (layers, width),
            "message.weight": (layers, width, width),
            "task.own.weight": (layers, 3 * width + _CANDIDATE_SCALARS, hidden),
            "task.mean.weight": (layers, width + _TASK_SCALARS, hidden),
            "task.option.weight": (layers, width, hidden),
            "task.hidden.bias": (layers, hidden),
            "task.output.weight": (layers, hidden, width),
            "task.output.bias": (layers, width),
            "smoothing.log": (self.layers, 3),
        }
        if self.statistics:
            shapes["trust"] = (self.layers, 2)
        return shapes
