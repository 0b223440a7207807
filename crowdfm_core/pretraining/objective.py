"""The trainable form of a model: its weights as leaf tensors, its logits and its loss.

Letters: T tasks, W workers, K option rows, B crowds, C candidates, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.models.attention import AttentionModel
from crowdfm_core.models.unrolled import UnrolledConfig, UnrolledModel
from crowdfm_core.pretraining.packing import PackedCrowds
from crowdfm_core.pretraining.recipe import Recipe

__all__ = ["Outputs", "initial_weights", "loss_of", "outputs_of"]

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Outputs:
    """What the model says about packed crowds."""

    logits: list[torch.Tensor]  # [C] each, one per candidate; the last is the answer
    workers: torch.Tensor  # [W, width of the model's embedding]
    tasks: torch.Tensor  # [T, width of the model's embedding]


def initial_weights(recipe: Recipe, device: torch.device) -> Tensors:
    """Draw the weights a run starts from: a function of the recipe's sizes and seed."""
    random = torch.Generator().manual_seed(recipe.seed)
    weights = {}
    for name, shape in recipe.model.tensor_shapes().items():
        tensor = torch.empty(shape)
        if name.startswith("initial."):
            tensor.normal_(generator=random)
        elif name == "trust":
            tensor.fill_(0.5)  # the geometric mean of the two classical posteriors
        elif name.endswith("norm.scale"):
            tensor.fill_(1.0)
        elif name.endswith(("norm.shift", ".bias")) or name == "smoothing.log":
            tensor.zero_()
        else:
            # Keeps the variance of a linear map's outputs at a third of its inputs', as torch's
            # own linear layers do; the last axis is the one that is summed over.
            bound = recipe.model.fan_in(name) ** -0.5
            tensor.uniform_(-bound, bound, generator=random)
        weights[name] = tensor.to(device).requires_grad_()
    return weights


def outputs_of(recipe: Recipe, weights: Tensors, packed: PackedCrowds, ops: TorchOps) -> Outputs:
    """Run the model on packed crowds; gradients reach `weights` where torch records them."""
    if isinstance(recipe.model, UnrolledConfig):
        assert packed.layout is not None  # packed for this model
        outputs = UnrolledModel(recipe.model, weights, ops).run(packed.layout)
        logits = [column[:, 0] for column in outputs.logits]
        return Outputs(logits, outputs.workers, outputs.tasks)
    model = AttentionModel(recipe.model, weights, ops)
    options = ops.array(packed.option_vectors)
    workers, tasks = model.encode(packed.graph, options)
    task_part, option_part = model.classifier_parts(tasks, options)
    device = options.device
    task = torch.as_tensor(packed.candidate_task, device=device)
    option = torch.as_tensor(packed.candidate_option, device=device)
    hidden = torch.nn.functional.leaky_relu(
        task_part.index_select(0, task) + option_part.index_select(0, option)
    )
    answer = hidden @ weights["classifier.output.weight"] + weights["classifier.output.bias"]
    return Outputs([answer], workers, tasks)


def loss_of(logits: torch.Tensor, packed: PackedCrowds) -> torch.Tensor:
    """Cross-entropy in nats: the mean over crowds of each crowd's mean over its tasks."""
    task = torch.as_tensor(packed.candidate_task, device=logits.device)
    num_tasks = packed.graph.num_tasks
    top = logits.new_full((num_tasks,), -torch.inf)
    top = top.scatter_reduce(0, task, logits.detach(), "amax")
    exponentials = torch.exp(logits - top[task])
    total = logits.new_zeros(num_tasks).index_add(0, task, exponentials)
    truth = torch.as_tensor(packed.true_candidate, device=logits.device)
    surprise = torch.log(total) + top - logits[truth.clamp(min=0)]
    return surprise @ torch.as_tensor(packed.task_weight, device=logits.device)
