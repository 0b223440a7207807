"""Compiled loops over tasks: from embeddings to probabilities, labels and worker statistics.

Letters: S draws of the option vectors, T tasks, W workers, K option rows, E annotations, F hidden
width. Tasks are walked in chunks by several threads; every task is written by one of them.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

__all__ = ["label_tasks"]

_LEAK = 0.01  # slope of the leaky rectifier below zero, as in the published classifier
_CHUNKS = 64


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
    draws, tasks, hidden = task_part.shape
    label = np.empty(tasks, np.int32)
    runner_up = np.full(tasks, -1, np.int32)
    probability = np.empty(tasks, np.float64)
    runner_up_probability = np.zeros(tasks, np.float64)
    entropy = np.zeros(tasks, np.float64)
    top_option = np.empty(top_offsets[-1], np.int32)
    top_probability = np.empty(top_offsets[-1], np.float64)
    own_probability = np.empty(entry_start[-1], np.float64)
    for chunk in numba.prange(_CHUNKS):
        for t in range(chunk * tasks // _CHUNKS, (chunk + 1) * tasks // _CHUNKS):
            start, count = option_start[t], option_end[t] - option_start[t]
            mean = np.zeros(count, np.float64)
            logits = np.empty(count, np.float64)
            for s in range(draws):
                for k in range(count):
                    total = np.float64(output_bias[0])
                    for f in range(hidden):
                        value = task_part[s, t, f] + option_part[s, start + k, f]
                        if value < 0:
                            value *= _LEAK
                        total += value * output_weight[f]
                    logits[k] = total
                logits -= logits.max()
                exponential = np.exp(logits)
                mean += exponential / (exponential.sum() * draws)
            # A stable sort of the negatives ranks equal probabilities by option.
            order = np.argsort(-mean, kind="mergesort")
            label[t] = start + order[0]
            probability[t] = mean[order[0]]
            if count > 1:
                runner_up[t] = start + order[1]
                runner_up_probability[t] = mean[order[1]]
            for k in range(count):
                if mean[k] > 0:
                    entropy[t] -= mean[k] * np.log(mean[k])
            for i in range(top_offsets[t + 1] - top_offsets[t]):
                top_option[top_offsets[t] + i] = start + order[i]
                top_probability[top_offsets[t] + i] = mean[order[i]]
            for p in range(pair_start[t], pair_start[t + 1]):
                for e in range(entry_start[p], entry_start[p + 1]):
                    own_probability[e] = mean[pair_option[p] - start]
    return (
        label,
        runner_up,
        probability,
        runner_up_probability,
        entropy,
        top_option,
        top_probability,
        own_probability,
    )
