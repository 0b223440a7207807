"""Small networks on frozen embeddings, trained in seconds and written as plain tensors.

Letters: N rows, D width, F hidden width, R outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Network", "train"]

FloatArray = npt.NDArray[np.floating[Any]]

_BATCH = 2048
_LEARNING_RATE = 4e-3
_WEIGHT_DECAY = 0.3


class Network(torch.nn.Module):
    """relu(x @ A + a) @ B + b, with x standardised by the rows it was made from."""

    def __init__(self, embeddings: FloatArray, *, hidden: int, outputs: int) -> None:
        """Take centre and spread from embeddings [N, D]."""
        super().__init__()
        self.centre = torch.as_tensor(embeddings.mean(axis=0), dtype=torch.float32)
        # A column that hardly moves would be blown up, and its rare values with it.
        spread = embeddings.std(axis=0) + 1e-2
        self.spread = torch.as_tensor(spread, dtype=torch.float32)
        self.hidden = torch.nn.Linear(embeddings.shape[1], hidden)
        self.output = torch.nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs [N, R] of raw embeddings [N, D]."""
        hidden = torch.relu(self.hidden((x - self.centre) / self.spread))
        values: torch.Tensor = self.output(hidden)
        return values

    def tensors(self, *, scale: float = 1.0, shift: float = 0.0) -> dict[str, FloatArray]:
        """The tensors of `scale * outputs + shift` as in crowdfm_core/read_outs.py, float32, with
        the standardisation folded in; one output is written as a vector."""
        with torch.no_grad():
            weight = (self.hidden.weight / self.spread).double()
            bias = self.hidden.bias.double() - weight @ self.centre.double()
            output = scale * self.output.weight.double()
            tensors = {
                "hidden.weight": weight.T,
                "hidden.bias": bias,
                "weight": output[0] if len(output) == 1 else output.T,
                "bias": scale * self.output.bias.double() + shift,
            }
        return {name: t.numpy().astype(np.float32) for name, t in tensors.items()}


def train(
    parameters: list[torch.nn.Parameter],
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    *,
    num_rows: int,
    steps: int,
    seed: int,
) -> None:
    """Minimise the mean of `loss_of` (places of rows -> loss) by AdamW with a falling rate."""
    optimiser = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    random = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1.0 - step / steps)
        rows = torch.randint(num_rows, (min(_BATCH, num_rows),), generator=random)
        optimiser.zero_grad()
        loss_of(rows).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
