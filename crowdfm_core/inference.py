"""From a batch's graph to labels, architecture by architecture.

Letters: E annotations, T tasks, W workers, K option rows, S draws of option vectors, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crowdfm_core.backends.attention_numpy import CompiledAttentionModel
from crowdfm_core.backends.label_kernels import label_candidates, label_tasks
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.backends.unrolled_numpy import CompiledUnrolledModel
from crowdfm_core.calibration import calibrate
from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.compatibility import PairFactors, expect_pair_head, factors_of
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.attention import AttentionConfig, AttentionModel
from crowdfm_core.models.operations import Array, Operations
from crowdfm_core.models.unrolled import UnrolledConfig, UnrolledModel
from crowdfm_core.options import option_vectors
from crowdfm_core.read_outs import read_out
from crowdfm_core.weights import FrozenWeights

__all__ = [
    "EmbeddedTasks",
    "Inference",
    "LabelledTasks",
    "attention_model",
    "draw_options",
    "embed_draw",
    "label_draws",
    "label_posterior",
    "make_inference",
    "unrolled_model",
]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class LabelledTasks:
    """Labels of a graph's tasks; options are option rows, equal probabilities rank by option.

    runner_up is -1 without one. The most probable options of task t are
    top_option[top_offsets[t]:top_offsets[t+1]], most probable first. own_probability is that of
    each given answer, in the order of the tasks' side. ability and difficulty are NaN where the
    weights carry no read-out.
    """

    label: IntArray  # [T]
    runner_up: IntArray  # [T]
    probability: Floats  # [T]
    runner_up_probability: Floats  # [T]
    entropy: Floats  # [T], in nats
    top_offsets: npt.NDArray[np.int64]  # [T+1]
    top_option: IntArray
    top_probability: Floats
    own_probability: Floats  # [E]
    ability: Floats  # [W]
    difficulty: Floats  # [T]
    factors: PairFactors | None = None  # where they were asked for


class Inference(Protocol):
    """A frozen model on one device."""

    def label(
        self, graph: AnnotationGraph, project_ids: Sequence[str], num_options: IntArray
    ) -> LabelledTasks:
        """Label all tasks of a batch; num_options [P] are those of its projects, in order."""


def make_inference(
    weights: FrozenWeights,
    *,
    device: str,
    num_draws: int,
    max_probabilities: int,
    with_factors: bool = False,
) -> Inference:
    """Put frozen weights on a device ("cpu", "cuda:0", ...).

    num_draws: draws of option vectors that are averaged, for models that have any.
    max_probabilities: options listed per task. with_factors: also of pairs, for assignments.
    Raises ScoringError where these are asked for and the weights have no head for them.
    """
    if with_factors:
        expect_pair_head(weights.heads)
    ops = _operations(device)
    if isinstance(weights.config, UnrolledConfig):
        return _Unrolled(weights, ops, max_probabilities, with_factors=with_factors)
    return _Attention(weights, ops, num_draws, max_probabilities)


def attention_model(weights: FrozenWeights, ops: Operations) -> AttentionModel:
    """The paper's architecture with frozen weights; over `NumpyOps` with compiled loops."""
    assert isinstance(weights.config, AttentionConfig)
    kind = CompiledAttentionModel if isinstance(ops, NumpyOps) else AttentionModel
    return kind(weights.config, _tensors(weights, ops), ops)


def unrolled_model(weights: FrozenWeights, ops: Operations) -> UnrolledModel:
    """The unrolled model with frozen weights; over `NumpyOps` with compiled loops."""
    assert isinstance(weights.config, UnrolledConfig)
    kind = CompiledUnrolledModel if isinstance(ops, NumpyOps) else UnrolledModel
    return kind(weights.config, _tensors(weights, ops), ops)


class _Attention:
    def __init__(
        self, weights: FrozenWeights, ops: Operations, num_draws: int, max_probabilities: int
    ) -> None:
        self.weights = weights
        self.num_draws = num_draws
        self.max_probabilities = max_probabilities
        self.model = attention_model(weights, ops)

    def label(
        self, graph: AnnotationGraph, project_ids: Sequence[str], num_options: IntArray
    ) -> LabelledTasks:
        draws = [
            self._embed(graph, project_ids, num_options, draw) for draw in range(self.num_draws)
        ]
        return label_draws(
            self.weights,
            graph,
            draws,
            ability=np.mean([draw.ability for draw in draws], axis=0),
            max_probabilities=self.max_probabilities,
        )

    def _embed(
        self, graph: AnnotationGraph, project_ids: Sequence[str], num_options: IntArray, draw: int
    ) -> EmbeddedTasks:
        options = draw_options(self.model, self.weights, project_ids, num_options, draw)
        workers, tasks = self.model.encode(graph, options)
        ability = read_out(self.weights.heads, "ability", _on_host(workers))
        return embed_draw(self.model, self.weights, tasks, options, ability=ability)


def draw_options(
    model: AttentionModel,
    weights: FrozenWeights,
    project_ids: Sequence[str],
    num_options: IntArray,
    draw: int,
) -> Array:
    """Vectors of all option rows of some projects, [K, D]; the same wherever they are drawn."""
    drawn = [
        option_vectors(weights.sha256, project, draw, int(count), model.config.width)
        for project, count in zip(project_ids, num_options, strict=True)
    ]
    return model.ops.array(np.concatenate(drawn))


def embed_draw(
    model: AttentionModel, weights: FrozenWeights, tasks: Array, options: Array, *, ability: Floats
) -> EmbeddedTasks:
    """What labels and difficulty are read from, given the last states of the tasks [T, D]."""
    task_part, option_part = model.classifier_parts(tasks, options)
    return EmbeddedTasks(
        task_part=_on_host(task_part),
        option_part=_on_host(option_part),
        ability=ability,
        difficulty=read_out(weights.heads, "difficulty", _on_host(tasks)),
    )


@dataclass(frozen=True)
class EmbeddedTasks:
    """What one draw of option vectors says of tasks, and of workers."""

    task_part: npt.NDArray[Any]  # [T, F]
    option_part: npt.NDArray[Any]  # [K, F]
    ability: Floats  # [W]
    difficulty: Floats  # [T]


def label_draws(
    weights: FrozenWeights,
    graph: AnnotationGraph,
    draws: Sequence[EmbeddedTasks],
    *,
    ability: Floats,
    max_probabilities: int,
) -> LabelledTasks:
    """Label the tasks of a graph by the mean probability over the draws."""
    per_task = graph.task_option_end - graph.task_option_start
    top_offsets = _offsets(np.minimum(per_task, max_probabilities))
    found = label_tasks(
        np.stack([draw.task_part for draw in draws]),
        np.stack([draw.option_part for draw in draws]),
        weights.tensors["classifier.output.weight"],
        weights.tensors["classifier.output.bias"],
        graph.task_option_start,
        graph.task_option_end,
        graph.tasks.pair_start,
        graph.tasks.pair_option,
        graph.tasks.entry_start,
        top_offsets,
    )
    difficulty = np.mean([draw.difficulty for draw in draws], axis=0)
    return _labelled(found, top_offsets, ability, difficulty)


class _Unrolled:
    def __init__(
        self,
        weights: FrozenWeights,
        ops: Operations,
        max_probabilities: int,
        *,
        with_factors: bool,
    ) -> None:
        self.weights = weights
        self.max_probabilities = max_probabilities
        self.with_factors = with_factors
        self.model = unrolled_model(weights, ops)

    def label(
        self, graph: AnnotationGraph, project_ids: Sequence[str], num_options: IntArray
    ) -> LabelledTasks:
        layout = CandidateGraph.of(graph)
        outputs, heads = self.model.run(layout), self.weights.heads
        log_posterior = _on_host(outputs.log_posterior)[:, 0]
        workers, tasks = _on_host(outputs.workers), _on_host(outputs.tasks)
        labelled = label_posterior(
            layout,
            calibrate(heads, layout, log_posterior),
            ability=read_out(heads, "ability", workers),
            difficulty=read_out(heads, "difficulty", tasks),
            max_probabilities=self.max_probabilities,
        )
        if not self.with_factors:
            return labelled
        posterior = np.exp(log_posterior.astype(np.float64))
        return replace(labelled, factors=factors_of(heads, layout, posterior, workers, tasks))


def label_posterior(
    layout: CandidateGraph,
    log_posterior: npt.NDArray[Any],
    *,
    ability: Floats,
    difficulty: Floats,
    max_probabilities: int,
) -> LabelledTasks:
    """Label the tasks of a layout from the log posterior of its candidates [C]."""
    side = layout.graph.tasks
    top_offsets = _offsets(np.minimum(np.diff(layout.candidate_start), max_probabilities))
    found = label_candidates(
        np.exp(log_posterior.astype(np.float64)),
        layout.candidate_start,
        layout.candidate_option,
        side.pair_start,
        side.pair_option,
        side.entry_start,
        top_offsets,
    )
    return _labelled(found, top_offsets, ability, difficulty)


def _labelled(
    found: tuple[npt.NDArray[Any], ...],
    top_offsets: npt.NDArray[np.int64],
    ability: Floats,
    difficulty: Floats,
) -> LabelledTasks:
    """Name what `label_tasks` and `label_candidates` return."""
    label, runner_up, p, runner_up_p, entropy, top, top_p, own = found
    return LabelledTasks(
        label,
        runner_up,
        p,
        runner_up_p,
        entropy,
        top_offsets,
        top,
        top_p,
        own,
        ability,
        difficulty,
    )


def _tensors(weights: FrozenWeights, ops: Operations) -> dict[str, Any]:
    return {name: ops.array(value) for name, value in weights.tensors.items()}


def _offsets(counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _operations(device: str) -> Operations:
    if device == "cpu":
        return NumpyOps()
    from crowdfm_core.backends.torch_backend import TorchOps  # only CUDA needs torch

    return TorchOps(device)


def _on_host(array: Any) -> npt.NDArray[Any]:
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
