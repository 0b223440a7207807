"""How much memory scoring a batch takes, known before anything large is allocated.

The coefficients are measured peaks of the process beyond its start (CPU, float32), rounded up; see
tests/core/test_memory.py for how. Letters: E annotations, T tasks, W workers, C candidates,
Q rows, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crowdfm_core.candidates import MAX_DENSE_OPTIONS, ComponentSizes
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.models import ModelConfig
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.models.unrolled_config import UnrolledConfig

__all__ = [
    "DEFAULT_MAX_BYTES",
    "bytes_held",
    "bytes_of_shards",
    "bytes_of_sizes",
    "bytes_to_score",
    "check_memory",
    "count_states",
    "most_rows",
]

DEFAULT_MAX_BYTES = 16 << 30


def check_memory(
    config: ModelConfig,
    graph: AnnotationGraph,
    project_ids: Sequence[str],
    max_bytes: int,
    *,
    as_block: bool = False,
) -> None:
    """Raise MemoryBudgetError, naming the project and the setting, where a batch needs more."""
    needed = bytes_to_score(config, graph, as_block=as_block)
    if needed <= max_bytes:
        return
    named = ", ".join(repr(project) for project in project_ids[:3])
    more = f" and {len(project_ids) - 3} more" if len(project_ids) > 3 else ""
    sizes = f"{needed / 2**30:.1f} GiB to be scored together, the limit is {max_bytes / 2**30:.1f}"
    raise MemoryBudgetError(
        f"project {named}{more}: {graph.num_annotations} annotations of {graph.num_tasks} tasks by "
        f"{graph.num_workers} workers, with {graph.num_option_rows} options, need about "
        f"{sizes} GiB; raise scoring.max_model_gib as far as a task's memory allows, or lower "
        "scoring.max_annotations_per_block, which spreads a component over more tasks of Spark"
    )


def bytes_to_score(config: ModelConfig, graph: AnnotationGraph, *, as_block: bool = False) -> int:
    """Estimate the peak of one forward pass beside the batch's own columns, in bytes.

    as_block: of what a block of that graph does between two exchanges with the shards, which keep
    the rows and update them.
    """
    annotations = graph.num_annotations
    if not isinstance(config, UnrolledConfig):
        nodes = graph.num_tasks + graph.num_workers
        return _attention_bytes(config, annotations, nodes, as_block=as_block)
    return _unrolled_bytes(config, annotations, *count_states(graph), as_block=as_block)


def bytes_of_sizes(config: ModelConfig, sizes: ComponentSizes, *, as_block: bool = False) -> int:
    """Estimate the same from the sizes of one component: at most, as far as they tell."""
    if not isinstance(config, UnrolledConfig):
        nodes = sizes.tasks + sizes.workers
        return _attention_bytes(config, sizes.annotations, nodes, as_block=as_block)
    candidates, rows = _most_candidates(sizes), most_rows(sizes)
    return _unrolled_bytes(config, sizes.annotations, candidates, rows, as_block=as_block)


def bytes_held(config: ModelConfig, sizes: ComponentSizes, *, num_draws: int) -> int:
    """Estimate what a block of such sizes keeps between two layers, with what it was sent or sends,
    in bytes; num_draws: of option vectors, which the unrolled model has none of."""
    if not isinstance(config, UnrolledConfig):
        return num_draws * bytes_of_sizes(config, sizes, as_block=True) // 2
    width = config.width
    per_candidate, per_row = 4 * width + 40, 4 * width + 44
    return (
        24 * sizes.annotations
        + per_candidate * _most_candidates(sizes)
        + per_row * most_rows(sizes)
    )


def bytes_of_shards(config: ModelConfig, sizes: ComponentSizes, *, num_draws: int) -> int:
    """Estimate the peak of all shards of a component together, in bytes."""
    if not isinstance(config, UnrolledConfig):
        return num_draws * sizes.workers * (10 * config.heads * config.width + 200)
    return most_rows(sizes) * (8 * config.width + 100)


def most_rows(sizes: ComponentSizes) -> int:
    """Rows Q that a component has at most."""
    pairs = min(sizes.annotations, sizes.workers * sizes.options)
    return pairs * (2 if sizes.options > MAX_DENSE_OPTIONS else sizes.options)


def _most_candidates(sizes: ComponentSizes) -> int:
    is_tied = sizes.options > MAX_DENSE_OPTIONS
    return sizes.annotations if is_tied else sizes.tasks * sizes.options


def _attention_bytes(
    config: AttentionConfig, annotations: int, nodes: int, *, as_block: bool
) -> int:
    per_value = 10 if as_block else 16
    return 200 * annotations + nodes * (per_value * config.heads * config.width + 200)


def _unrolled_bytes(
    config: UnrolledConfig, annotations: int, candidates: int, rows: int, *, as_block: bool
) -> int:
    width = config.width
    if as_block:
        return 80 * annotations + candidates * (8 * width + 92) + rows * (8 * width + 200)
    return 110 * annotations + candidates * (14 * width + 320) + rows * (24 * width + 380)


def count_states(graph: AnnotationGraph) -> tuple[int, int]:
    """Numbers of candidates C and rows Q of `CandidateGraph.of(graph)`, without its arrays."""
    options = np.asarray(graph.task_option_end, np.int64) - graph.task_option_start
    tied = options > MAX_DENSE_OPTIONS
    candidates = np.where(tied, np.diff(graph.tasks.pair_start), options).sum()
    # All tasks of a worker belong to one project: the first answer tells its options.
    workers = graph.workers
    pairs = np.diff(workers.pair_start)
    some = pairs > 0
    first_task = workers.neighbour[workers.entry_start[workers.pair_start[:-1][some]]]
    per_pair = np.where(tied, 2, options)[first_task]
    return int(candidates), int((pairs[some] * per_pair).sum())
