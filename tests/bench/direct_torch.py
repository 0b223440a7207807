"""The paper's equations 4 to 10 per annotation in torch: what the fused kernels compete with.

This is the usual form of such a network: every projection is computed for every annotation, so
that arrays of size E x H x D pass through memory many times. Letters: E annotations, T tasks,
W workers, K options, H heads, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from crowdfm_core.models.attention import AttentionConfig

__all__ = ["DirectModel"]


class DirectModel:
    """The paper's architecture on the CPU, float32, without gradients."""

    def __init__(self, config: AttentionConfig, tensors: Mapping[str, Any]) -> None:
        self.config = config
        self.tensors = {name: torch.as_tensor(value) for name, value in tensors.items()}

    @torch.inference_mode()
    def logits(
        self,
        task: torch.Tensor,
        worker: torch.Tensor,
        option: torch.Tensor,
        options: torch.Tensor,
        *,
        num_tasks: int,
        num_workers: int,
    ) -> torch.Tensor:
        """Return logits [T, K]; task, worker and option are int64 [E], options [K, D]."""
        z_w = self.tensors["initial.worker"].expand(num_workers, -1)
        z_t = self.tensors["initial.task"].expand(num_tasks, -1)
        answers = options[option]
        for layer in range(self.config.layers):
            h = torch.cat([z_w[worker], z_t[task], answers], dim=1)
            z_w, z_t = (
                self._update("worker", layer, h, worker, z_w),
                self._update("task", layer, h, task, z_t),
            )
        return self._classify(z_t, options)

    def _classify(self, z_t: torch.Tensor, options: torch.Tensor) -> torch.Tensor:
        shape = (len(z_t), len(options), self.config.width)
        pairs = torch.cat([z_t[:, None].expand(shape), options[None].expand(shape)], dim=2)
        hidden = torch.nn.functional.linear(
            pairs,
            self.tensors["classifier.hidden.weight"],
            self.tensors["classifier.hidden.bias"],
        )
        hidden = torch.nn.functional.leaky_relu(hidden)
        return (
            hidden @ self.tensors["classifier.output.weight"]
            + (self.tensors["classifier.output.bias"])
        )

    def _update(
        self, side: str, layer: int, h: torch.Tensor, centre: torch.Tensor, state: torch.Tensor
    ) -> torch.Tensor:
        heads, width = self.config.heads, self.config.width

        def linear(name: str, x: torch.Tensor) -> torch.Tensor:
            weight = self.tensors[f"{side}.{name}.weight"][layer]
            return torch.nn.functional.linear(x, weight, self.tensors[f"{side}.{name}.bias"][layer])

        query, key = (linear(name, h).view(-1, heads, width) for name in ("query", "key"))
        score = (query * key).sum(-1) / math.sqrt(width)
        share = _softmax(score, centre, len(state))
        message = share[:, :, None] * linear("value", h).view(-1, heads, width)
        message = message.view(-1, heads * width) @ self.tensors[f"{side}.output.weight"][layer].T
        new = state.index_add(0, centre, message)
        new += self._output_bias(side, layer, torch.bincount(centre, minlength=len(state)))
        return torch.nn.functional.layer_norm(
            new, (width,), self.tensors["norm.scale"], self.tensors["norm.shift"]
        )

    def _output_bias(self, side: str, layer: int, degree: torch.Tensor) -> torch.Tensor:
        """Every centre's share of the bias, [N, D]; added once, as sums of many lose digits."""
        degree = degree.to(self.tensors["norm.scale"].dtype)
        times = {
            "per_annotation": degree,
            "log_annotations": torch.log1p(degree),
            "once": torch.clamp(degree, max=1.0),
        }[self.config.output_bias]
        return times[:, None] * self.tensors[f"{side}.output.bias"][layer]


def _softmax(score: torch.Tensor, centre: torch.Tensor, num_centres: int) -> torch.Tensor:
    """Softmax over the annotations of each centre, [E, H]."""
    index = centre[:, None].expand_as(score)
    top = score.new_full((num_centres, score.shape[1]), -torch.inf)
    top = top.scatter_reduce(0, index, score, "amax")
    weight = torch.exp(score - top[centre])
    total = torch.zeros_like(top).index_add(0, centre, weight)
    return weight / total[centre]
