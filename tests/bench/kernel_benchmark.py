"""The paper's architecture: fused kernels against the direct form."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crowdfm_core.backends.attention_numpy import CompiledAttentionModel
from crowdfm_core.backends.label_kernels import label_tasks
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.options import option_vectors
from crowdfm_core.weights import FrozenWeights, load_weights
from tests.bench.crowds import SENTI, Crowd, Sizes, draw_crowd
from tests.bench.direct_torch import DirectModel
from tests.bench.harness import Result, alternate, num_threads

__all__ = ["kernel_senti"]

Floats = npt.NDArray[np.floating[Any]]
_LOGIT_TOLERANCE = 1e-2
_EQUAL_LABELS = 0.9999  # least share of tasks with the same label


def kernel_senti(sizes: Sizes = SENTI, *, repeats: int = 3) -> Result:
    """Seconds of one forward pass with one draw of option vectors, from the graph to labels.

    Building the graph is excluded on both sides and reported. correct: logits within 1e-2, and
    labels equal on at least 99.99 % of the tasks.
    """
    torch.set_num_threads(num_threads())
    crowd, weights = draw_crowd(sizes, seed=1), load_weights("attention")
    fused, direct = _Fused(crowd, weights), _Direct(crowd, weights)
    timed = alternate(fused.run, direct.run, repeats=repeats)
    labels, logits = timed.our_result.label, fused.logits(timed.our_result)
    largest = float(np.abs(logits - timed.other_result).max())
    equal = float((labels == timed.other_result.argmax(axis=1)).mean())
    return Result(
        benchmark="kernel_senti",
        ours=timed.ours,
        other=timed.other,
        ratio=timed.ratio,
        unit="seconds",
        correct=largest <= _LOGIT_TOLERANCE and equal >= _EQUAL_LABELS,
        details={
            "other": "direct form in torch, arrays of annotations x heads x width",
            "annotations": len(crowd.task),
            "largest_logit_difference": largest,
            "equal_labels": equal,
            "our_graph_seconds": fused.graph_seconds,
            "other_graph_seconds": direct.graph_seconds,
        },
    )


@dataclass(frozen=True)
class _Pass:
    label: npt.NDArray[np.int32]  # [T]
    task_part: Floats  # [T, 2D]
    option_part: Floats  # [K, 2D]


class _Fused:
    """What the product runs on a CPU, for one draw."""

    def __init__(self, crowd: Crowd, weights: FrozenWeights) -> None:
        assert isinstance(weights.config, AttentionConfig)
        sizes, self.weights, ops = crowd.sizes, weights, NumpyOps()
        tensors = {name: ops.array(value) for name, value in weights.tensors.items()}
        self.model = CompiledAttentionModel(weights.config, tensors, ops)
        self.options = ops.array(_options(weights, sizes.options))

        def graph() -> AnnotationGraph:
            return AnnotationGraph.from_arrays(
                crowd.task,
                crowd.worker,
                crowd.option,
                num_tasks=sizes.tasks,
                num_workers=sizes.workers,
                num_option_rows=sizes.options,
            )

        graph()  # compiles its loops
        began = time.perf_counter()
        self.graph = graph()
        self.graph_seconds = time.perf_counter() - began

    def run(self) -> _Pass:
        """Encode, classify, label."""
        graph, tensors = self.graph, self.weights.tensors
        _, tasks = self.model.encode(graph, self.options)
        task_part, option_part = self.model.classifier_parts(tasks, self.options)
        label, *_ = label_tasks(
            task_part[None],
            option_part[None],
            tensors["classifier.output.weight"],
            tensors["classifier.output.bias"],
            graph.task_option_start,
            graph.task_option_end,
            graph.tasks.pair_start,
            graph.tasks.pair_option,
            graph.tasks.entry_start,
            np.arange(graph.num_tasks + 1, dtype=np.int64),
        )
        return _Pass(label, task_part, option_part)

    def logits(self, result: _Pass) -> Floats:
        """Equation 10 for every pair of task and option, [T, K]."""
        tensors = self.weights.tensors
        hidden = result.task_part[:, None] + result.option_part
        hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
        logits: Floats = hidden @ tensors["classifier.output.weight"]
        return logits + tensors["classifier.output.bias"]


class _Direct:
    def __init__(self, crowd: Crowd, weights: FrozenWeights) -> None:
        assert isinstance(weights.config, AttentionConfig)
        self.sizes = crowd.sizes
        self.model = DirectModel(weights.config, weights.tensors)
        self.options = torch.from_numpy(_options(weights, crowd.sizes.options))
        began = time.perf_counter()
        # Ordered by task, as published sets are; random order would cost it cache misses.
        order = np.argsort(crowd.task, kind="stable")
        self.task, self.worker, self.option = (
            torch.from_numpy(index[order].astype(np.int64))
            for index in (crowd.task, crowd.worker, crowd.option)
        )
        self.graph_seconds = time.perf_counter() - began

    def run(self) -> Floats:
        """Logits [T, K]."""
        logits = self.model.logits(
            self.task,
            self.worker,
            self.option,
            self.options,
            num_tasks=self.sizes.tasks,
            num_workers=self.sizes.workers,
        )
        array: Floats = logits.numpy()
        return array


def _options(weights: FrozenWeights, count: int) -> npt.NDArray[np.float32]:
    assert isinstance(weights.config, AttentionConfig)
    drawn = option_vectors(weights.sha256, "benchmark", 0, count, weights.config.width)
    return np.asarray(drawn, np.float32)
