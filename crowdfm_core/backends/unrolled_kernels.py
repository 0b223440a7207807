"""Compiled steps of the unrolled model on the tasks' side, for inference on the CPU.

Each does for one task after the other what `UnrolledModel` writes as operations on whole arrays,
so that features and hidden layers never leave the processor's cache. float32 or float64 alike.
Letters: see candidates.py; D width, F features, H hidden width, I groups (component, option).
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.products import ROWS, add_rows, moments, normalise
from crowdfm_core.backends.vectors import LANES, load, maximum, prefetch, splat, store, sum_lanes

__all__ = ["sum_groups", "task_values", "update_tasks"]

# Lets the compiler reorder sums inside one product; infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_CLIP = -10.0
_CHUNK = 256  # candidates; a multiple of the rows of a product
_AHEAD = 8  # annotations whose rows are asked for before they are read
_TASKS = 16  # tasks whose products are taken together, a multiple of these as well


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def task_values(
    states,
    posterior,
    value_scale,
    value_shift,
    value_weight,
    certain_weight,
    task_scale,
    task_shift,
):  # pragma: no cover
    """What a layer learns from each candidate: values with the posterior [C, D + 1], of which
    rows are summed, and normalised states with the posterior [C, D + 1], of which options are.

    states [C, D], posterior [C], value_weight [D, F], its 2 D columns filled up with zeros to a
    multiple of 16, certain_weight [D].
    """
    count, width = states.shape
    values = np.empty((count, width + 1), states.dtype)
    normed = np.empty((count, width + 1), states.dtype)
    for chunk in numba.prange((count + _CHUNK - 1) // _CHUNK):
        x = np.zeros((_CHUNK, width), states.dtype)
        products = np.zeros((_CHUNK, value_weight.shape[1]), states.dtype)
        begin = chunk * _CHUNK
        number = min(count - begin, _CHUNK)
        for n in range(number):
            c = begin + n
            mean, factor = moments(states, c, width)
            for d in range(width):
                normal = (states[c, d] - mean) * factor
                x[n, d] = normal * value_scale[d] + value_shift[d]
                normed[c, d] = normal * task_scale[d] + task_shift[d]
        add_rows(x, value_weight, products, number)
        for n in range(number):
            c = begin + n
            p = posterior[c]
            for d in range(width):
                values[c, d] = products[n, d] + p * (products[n, width + d] + certain_weight[d])
            values[c, width] = p
            normed[c, width] = p
    return values, normed


@numba.njit(cache=True, parallel=True)
def sum_groups(x, group, num_groups):  # pragma: no cover
    """Sum the rows of x [N, F] by group [N] in float64, columns in parallel: [num_groups, F]."""
    rows, width = x.shape
    out = np.zeros((width, num_groups))
    block = 6
    for b in numba.prange((width + block - 1) // block):
        for n in range(rows):
            g = group[n]
            for f in range(b * block, min(width, (b + 1) * block)):
                out[f, g] += x[n, f]
    return out.T.astype(x.dtype)


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def update_tasks(
    candidate_start,
    candidate_option,
    candidate_group,
    component_of_task,
    is_tied,
    pair_start,
    pair_option,
    entry_start,
    neighbour_pair,
    row_start,
    chunk_start,
    messages,
    log_prior,
    option_part,
    log_options,
    posterior,
    states,
    task_norm,
    own_weight,
    mean_weight,
    hidden_bias,
    output_weight,
    output_bias,
    trust,
    answer_norm,
    answer_weight,
):  # pragma: no cover
    """One layer of all tasks; `states` [C, D'] are overwritten.

    messages [Q, D + 2]: of the rows, and 16 numbers or more behind them. log_prior [I] of options,
    option_part [I, H] their mean states through the hidden layer, log_options [J]. posterior [C]:
    the last layer's.
    own_weight [F, H], mean_weight [D' + 2, H], output_weight [H, D'], trust [2], answer_weight
    [D']; norms are as in `normalise`. H and D', the width of the states here, are filled up with
    zeros to a multiple of 16.
    Returns logits, log posteriors and posteriors, [C] each.
    """
    count, width = states.shape
    features, hidden = own_weight.shape
    columns, models = messages.shape[1], 2
    narrow = columns - models
    dtype = states.dtype
    zero, one = dtype.type(0), dtype.type(1)
    clip = dtype.type(_CLIP)
    least = np.exp(clip)
    logits = np.empty(count, dtype)
    new_log = np.empty(count, dtype)
    new_posterior = np.empty(count, dtype)
    flat_messages = messages.reshape(-1)
    last_entry = len(neighbour_pair) - 1
    for chunk in numba.prange(len(chunk_start) - 1):
        most = 0
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _TASKS):
            after = min(begin + _TASKS, chunk_start[chunk + 1])
            most = max(most, candidate_start[after] - candidate_start[begin])
        room = most + ROWS
        sums = np.empty(room * columns + 2 * LANES, dtype)
        x = np.zeros((room, features), dtype)
        hide = np.zeros((room, hidden), dtype)
        new = np.zeros((room, width), dtype)
        logs = np.empty((room, models), dtype)
        shares = np.empty((room, models), dtype)
        mean = np.zeros((_TASKS, width + 2), dtype)
        normal = np.empty(width, dtype)
        common = np.empty((_TASKS, hidden), dtype)
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _TASKS):
            after = min(begin + _TASKS, chunk_start[chunk + 1])
            start = candidate_start[begin]
            number = candidate_start[after] - start
            for n in range(number):
                x[n, 3 * width] = 0
            for t in range(begin, after):
                first = candidate_start[t] - start
                size = (candidate_start[t + 1] - candidate_start[t]) * columns
                ahead = min(size, 16 * columns)
                # What is added past the end belongs to the next task, which begins with zeros.
                for f in range(0, size + LANES, LANES):
                    store(sums, first * columns + f, splat(zero))
                for p in range(pair_start[t], pair_start[t + 1]):
                    for j in range(candidate_start[t], candidate_start[t + 1]):
                        if candidate_option[j] == pair_option[p]:
                            x[j - start, 3 * width] += entry_start[p + 1] - entry_start[p]
                    for e in range(entry_start[p], entry_start[p + 1]):
                        soon = row_start[neighbour_pair[min(e + _AHEAD, last_entry)]] * columns
                        for f in range(0, ahead, LANES):
                            prefetch(flat_messages, soon + f)
                        row = row_start[neighbour_pair[e]]
                        if is_tied[t]:
                            for j in range(candidate_start[t], candidate_start[t + 1]):
                                source = (row + (candidate_option[j] != pair_option[p])) * columns
                                for f in range(columns):
                                    sums[(j - start) * columns + f] += flat_messages[source + f]
                        else:
                            # The rows of all candidates stand together.
                            source, target = row * columns, first * columns
                            for f in range(0, size, LANES):
                                total = load(sums, target + f) + load(flat_messages, source + f)
                                store(sums, target + f, total)

            for t in range(begin, after):
                first, end = candidate_start[t] - start, candidate_start[t + 1] - start
                answers = entry_start[pair_start[t + 1]] - entry_start[pair_start[t]]
                some = dtype.type(max(answers, 1))
                per_answer, per_root = one / some, one / np.sqrt(some)

                # Log posteriors of the models of confusions and of one coin.
                for g in range(models):
                    top = dtype.type(-np.inf)
                    for j in range(first, end):
                        prior = log_prior[candidate_group[start + j]]
                        logs[j, g] = sums[j * columns + narrow + g] + prior
                        top = max(top, logs[j, g])
                    total = zero
                    for j in range(first, end):
                        shares[j, g] = np.exp(logs[j, g] - top)
                        total += shares[j, g]
                    log_total = top + np.log(total)
                    for j in range(first, end):
                        x[j, 3 * width + 3 + g] = max(logs[j, g] - log_total, clip)
                        x[j, 3 * width + 5 + g] = max(shares[j, g] / total, least)
                        x[j, 3 * width + 7 + g] = max(logs[j, g] * per_root, clip)

                # What the candidates of a task have in common.
                place = t - begin
                for d in range(width):
                    mean[place, d] = 0
                share = splat(one / dtype.type(max(end - first, 1)))
                for j in range(first, end):
                    normalise(states, (start + j) * width, task_norm, x, j * features, width)
                    for d in range(0, width, LANES):
                        of_answers, at = load(sums, j * columns + d), j * features + d
                        store(x, at + width, of_answers * splat(per_answer))
                        store(x, at + 2 * width, of_answers * splat(per_root))
                        of_mean = place * (width + 2) + d
                        store(mean, of_mean, load(mean, of_mean) + share * load(x, at))
                    x[j, 3 * width] *= per_answer
                    x[j, 3 * width + 1] = posterior[start + j]
                    x[j, 3 * width + 2] = log_prior[candidate_group[start + j]]
                mean[place, width] = np.log(one + answers)
                mean[place, width + 1] = log_options[component_of_task[t]]
                for h in range(hidden):
                    common[place, h] = hidden_bias[h]
            add_rows(mean, mean_weight, common, after - begin)
            for t in range(begin, after):
                for c in range(candidate_start[t], candidate_start[t + 1]):
                    of_option = candidate_group[c] * hidden
                    for h in range(0, hidden, LANES):
                        total = load(common, (t - begin) * hidden + h) + load(
                            option_part, of_option + h
                        )
                        store(hide, (c - start) * hidden + h, total)
            add_rows(x, own_weight, hide, number)
            for f in range(0, number * hidden, LANES):
                store(hide, f, maximum(load(hide, f), splat(zero)))
            for n in range(number):
                for d in range(0, width, LANES):
                    old = load(states, (start + n) * width + d)
                    store(new, n * width + d, old + load(output_bias, d))
            add_rows(hide, output_weight, new, number)

            for t in range(begin, after):
                first, end = candidate_start[t] - start, candidate_start[t + 1] - start
                top = dtype.type(-np.inf)
                for j in range(first, end):
                    normalise(new, j * width, answer_norm, normal, 0, width)
                    scaled = splat(zero)
                    for d in range(0, width, LANES):
                        store(states, (start + j) * width + d, load(new, j * width + d))
                        scaled = scaled + load(normal, d) * load(answer_weight, d)
                    at = 3 * width + 3
                    answer = sum_lanes(scaled) + trust[0] * x[j, at] + trust[1] * x[j, at + 1]
                    logits[start + j] = answer
                    top = max(top, answer)
                total = zero
                for c in range(start + first, start + end):
                    new_posterior[c] = np.exp(logits[c] - top)
                    total += new_posterior[c]
                log_total = top + np.log(total)
                for c in range(start + first, start + end):
                    new_posterior[c] /= total
                    new_log[c] = logits[c] - log_total
    return logits, new_log, new_posterior
