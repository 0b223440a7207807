"""Compiled loops over tasks: from embeddings to probabilities, labels and worker statistics.

Letters: S draws of the option vectors, T tasks, W workers, K option rows, E annotations, F hidden
width. Tasks are walked in chunks by several threads; every task is written by one of them.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.vector_memory import load
from crowdfm_core.backends.vectors import LANES, maximum, splat, sum_lanes

__all__ = ["label_candidates", "label_tasks"]

_LEAK = 0.01  # slope of the leaky rectifier below zero, as in the published classifier
_CHUNKS = 64
_FEW = 16  # options that are sorted by insertion, without the cost of calling a sort


@numba.njit(cache=True)
def _outputs(tasks, listed):  # pragma: no cover
    """Arrays per task and per listed option, in the order that `label_tasks` returns them."""
    per_task = (
        np.empty(tasks, np.int32),
        np.full(tasks, -1, np.int32),
        np.empty(tasks, np.float64),
        np.zeros(tasks, np.float64),
        np.zeros(tasks, np.float64),
    )
    return per_task, (np.empty(listed, np.int32), np.empty(listed, np.float64))


@numba.njit(cache=True)
def _ranked(values):  # pragma: no cover
    """Places of the values from the highest on, equal ones in the order in which they stand."""
    if len(values) > _FEW:
        return np.argsort(-values, kind="mergesort")
    order = np.empty(len(values), np.int64)
    for i in range(len(values)):
        place = i
        while place > 0 and values[order[place - 1]] < values[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    return order


@numba.njit(cache=True)
def _summarise(t, mean, options, top_offsets, per_task, top):  # pragma: no cover
    """Write what is published of one task with probabilities `mean` of `options`."""
    label, runner_up, probability, runner_up_probability, entropy = per_task
    order = _ranked(mean)
    label[t] = options[order[0]]
    probability[t] = mean[order[0]]
    if len(mean) > 1:
        runner_up[t] = options[order[1]]
        runner_up_probability[t] = mean[order[1]]
    for value in mean:
        if value > 0:
            entropy[t] -= value * np.log(value)
    for i in range(top_offsets[t + 1] - top_offsets[t]):
        top[0][top_offsets[t] + i] = options[order[i]]
        top[1][top_offsets[t] + i] = mean[order[i]]


@numba.njit(cache=True)
def _classify(x, y, weight):  # pragma: no cover
    """Inner product of weight [F] with leaky(x + y), x and y [F] from their first elements on."""
    leak = weight.dtype.type(_LEAK)
    whole = len(weight) // LANES * LANES
    lanes = splat(weight.dtype.type(0))
    for f in range(0, whole, LANES):
        value = load(x, f) + load(y, f)
        lanes = lanes + maximum(value, splat(leak) * value) * load(weight, f)
    total = sum_lanes(lanes)
    for f in range(whole, len(weight)):
        value = x[f] + y[f]
        total += max(value, leak * value) * weight[f]
    return total


@numba.njit(cache=True, parallel=True)
def label_tasks(
    task_part,
    option_part,
    output_weight,
    output_bias,
    option_start,
    option_end,
    pair_start,
    pair_option,
    entry_start,
    top_offsets,
):  # pragma: no cover
    """Average softmax probabilities over draws and reduce them per task.

    task_part [S, T, F] and option_part [S, K, F] are the two parts of the classifier's hidden
    layer, output_weight [F]. Returns label row [T], runner-up row [T] (-1 without one),
    probability and runner-up probability [T], entropy in nats [T], the most probable option rows
    with their probabilities (T runs, bounded by top_offsets [T+1]), and for every annotation of
    the tasks' side the probability of the given answer [E]. Equal probabilities rank by option.
    """
    draws, tasks = task_part.shape[:2]
    weight = output_weight.astype(task_part.dtype)
    per_task, top = _outputs(tasks, top_offsets[-1])
    own_probability = np.empty(entry_start[-1], np.float64)
    for chunk in numba.prange(_CHUNKS):
        for t in range(chunk * tasks // _CHUNKS, (chunk + 1) * tasks // _CHUNKS):
            start, count = option_start[t], option_end[t] - option_start[t]
            mean = np.zeros(count, np.float64)
            logits = np.empty(count, np.float64)
            for s in range(draws):
                for k in range(count):
                    hidden = _classify(task_part[s, t], option_part[s, start + k], weight)
                    logits[k] = output_bias[0] + hidden
                logits -= logits.max()
                exponential = np.exp(logits)
                mean += exponential / (exponential.sum() * draws)
            options = np.arange(start, start + count).astype(np.int32)
            _summarise(t, mean, options, top_offsets, per_task, top)
            for p in range(pair_start[t], pair_start[t + 1]):
                for e in range(entry_start[p], entry_start[p + 1]):
                    own_probability[e] = mean[pair_option[p] - start]
    return (*per_task, *top, own_probability)


@numba.njit(cache=True, parallel=True)
def label_candidates(
    candidate_probability,
    candidate_start,
    candidate_option,
    pair_start,
    pair_option,
    entry_start,
    top_offsets,
):  # pragma: no cover
    """Reduce the probabilities of each task's candidates, float64 [C], as `label_tasks` does.

    candidate_option [C] ascends within a task; every given answer is a candidate.
    """
    tasks = len(candidate_start) - 1
    per_task, top = _outputs(tasks, top_offsets[-1])
    own_probability = np.empty(entry_start[-1], np.float64)
    for chunk in numba.prange(_CHUNKS):
        for t in range(chunk * tasks // _CHUNKS, (chunk + 1) * tasks // _CHUNKS):
            start, end = candidate_start[t], candidate_start[t + 1]
            mean = candidate_probability[start:end]
            options = candidate_option[start:end]
            _summarise(t, mean, options, top_offsets, per_task, top)
            for p in range(pair_start[t], pair_start[t + 1]):
                place = np.searchsorted(candidate_option[start:end], pair_option[p])
                for e in range(entry_start[p], entry_start[p + 1]):
                    own_probability[e] = mean[place]
    return (*per_task, *top, own_probability)
