"""The unrolled models, as `Scorer` runs them: speed, memory, small graphs, growth with size."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch, Scorer
from crowdfm_core.weights import load_weights
from tests.bench.crowds import SENTI, Sizes, draw_crowd, several_projects
from tests.bench.harness import Result, alternate, num_threads

__all__ = ["scaling", "small_graphs", "weights_senti"]

_ROOT = Path(__file__).resolve().parents[2]
_TOLERANCE = 1e-3  # of probabilities
_EQUAL_LABELS = 0.9999  # least share of tasks with the same label
_SMALL = Sizes(annotations=120, workers=12, tasks=40, options=3)
_SCALES = (10_000, 100_000, 1_000_000, 10_000_000)

# Scores a batch from a file and prints the largest resident memory in bytes, before and after.
_MEASURE_MEMORY = r"""
import re, sys
from pathlib import Path
import numpy as np
from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.scoring import AnnotationBatch, Scorer
from crowdfm_core.weights import load_weights
def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])
task, worker, option, sizes = np.load(sys.argv[1]).values()
scorer = Scorer(load_weights(sys.argv[2]))
before = peak()
scorer.score(AnnotationBatch(
    task, worker, option, np.zeros(sizes[0], np.int32), ["benchmark"], sizes[2:], int(sizes[1])
))
print(before, peak())
"""


def weights_senti(name: str, sizes: Sizes = SENTI, *, repeats: int = 5) -> Result:
    """Seconds of shipped weights from index arrays to labels and worker scores, graph building
    included, against the same model on torch tensors.

    correct: probabilities within 1e-3, and labels equal on at least 99.99 % of the tasks. Peak
    memory is that of a process that does nothing else.
    """
    torch.set_num_threads(num_threads())
    crowd, weights = draw_crowd(sizes, seed=1), load_weights(name)
    batch = crowd.batch()
    ours, other = Scorer(weights), Scorer(weights, device="cpu:0")  # named so, torch runs it
    timed = alternate(lambda: ours.score(batch), lambda: other.score(batch), repeats=repeats)
    difference, equal = _compared(timed.our_result, timed.other_result)
    before, peak = _memory(name, batch, sizes)
    return Result(
        benchmark=f"{name}_senti",
        ours=timed.ours,
        other=timed.other,
        ratio=timed.ratio,
        unit="seconds",
        correct=difference <= _TOLERANCE and equal >= _EQUAL_LABELS,
        details={
            "other": "the same model on torch tensors",
            "annotations": sizes.annotations,
            "annotations_per_second": sizes.annotations / timed.ours,
            "largest_probability_difference": difference,
            "equal_labels": equal,
            "peak_memory_bytes": peak,
            "memory_before_bytes": before,
        },
    )


def small_graphs(count: int = 1_000, *, repeats: int = 3) -> Result:
    """Seconds for many small projects in one batch, against one batch for each.

    correct: the same labels, probabilities within 1e-3.
    """
    crowds = [draw_crowd(_SMALL, seed=seed) for seed in range(count)]
    together, apart = several_projects(crowds), [crowd.batch() for crowd in crowds]
    scorer = Scorer(load_weights())

    def one_by_one() -> list[ScoredBatch]:
        return [scorer.score(batch) for batch in apart]

    timed = alternate(lambda: scorer.score(together), one_by_one, repeats=repeats)
    joined, single = timed.our_result, timed.other_result
    labels = np.concatenate([one.label_index for one in single])
    probability = np.concatenate([one.probability for one in single])
    difference = float(np.abs(joined.probability - probability).max())
    equal = float((joined.label_index == labels).mean())
    return Result(
        benchmark="small_graphs",
        ours=timed.ours,
        other=timed.other,
        ratio=timed.ratio,
        unit="seconds",
        correct=equal == 1.0 and difference <= _TOLERANCE,
        details={
            "other": "one batch per graph",
            "graphs": count,
            "annotations": count * _SMALL.annotations,
            "largest_probability_difference": difference,
        },
    )


def scaling(scales: tuple[int, ...] = _SCALES, *, plot: Path | None = None) -> Result:
    """Slope of log seconds on log annotations, from the second size on (the first shows the fixed
    cost); 1 is linear. Tasks and workers grow with the annotations.

    ours: the slope. correct: at the largest size at most a half percent fewer labels are true than
    by majority voting.
    """
    scorer = Scorer(load_weights())
    scorer.score(draw_crowd(SENTI.scaled(10_000), seed=1).batch())  # compiles
    seconds: list[float] = []
    lead = 0.0
    for size in scales:
        crowd = draw_crowd(SENTI.scaled(size), seed=1)
        batch = crowd.batch()
        # Small inputs repeat, so that a moment's noise does not make the slope.
        taken = []
        for _ in range(5 if size < 1_000_000 else 1):
            began = time.perf_counter()
            scored = scorer.score(batch)
            taken.append(time.perf_counter() - began)
        seconds.append(float(np.median(taken)))
        votes = count_votes(crowd.task, crowd.option, num_tasks=crowd.sizes.tasks)
        accuracy = float((scored.label_index == crowd.true_option).mean())
        lead = accuracy - float(votes.credit(crowd.true_option).mean())
    slope = float(np.polyfit(np.log(scales[1:]), np.log(seconds[1:]), 1)[0])
    if plot is not None:
        _plot(plot, scales, seconds)
    return Result(
        benchmark="scaling",
        ours=slope,
        other=None,
        ratio=None,
        unit="slope of log seconds on log annotations",
        correct=lead >= -0.005,
        details={"annotations": list(scales), "seconds": seconds},
    )


def _compared(ours: ScoredBatch, other: ScoredBatch) -> tuple[float, float]:
    """Largest difference of probabilities, and share of equal labels."""
    difference = float(np.abs(ours.probability - other.probability).max())
    return difference, float((ours.label_index == other.label_index).mean())


def _memory(name: str, batch: AnnotationBatch, sizes: Sizes) -> tuple[int, int]:
    """Peak resident bytes of a process of its own, before and after scoring the batch."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "crowd.npz"
        numbers = np.array([sizes.tasks, sizes.workers, sizes.options], np.int32)
        np.savez(
            file,
            task=batch.task_index,
            worker=batch.worker_index,
            option=batch.option_index,
            sizes=numbers,
        )
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE_MEMORY, str(file), name],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    before, after = map(int, done.stdout.split())
    return before, after


def _plot(path: Path, scales: tuple[int, ...], seconds: list[float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes: Any = figure.subplots()
    axes.loglog(scales, seconds, marker="o", label="measured")
    linear = [seconds[-1] * scale / scales[-1] for scale in scales]
    axes.loglog(scales, linear, linestyle=":", label="linear")
    axes.set_xlabel("annotations")
    axes.set_ylabel("seconds")
    axes.set_title(f"Default model, {num_threads()} threads")
    axes.legend()
    figure.savefig(path, dpi=150)
