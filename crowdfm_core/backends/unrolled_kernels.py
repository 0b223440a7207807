"""Compiled steps of the unrolled model on the tasks' side, for inference on the CPU.

Each does for one task after the other what `UnrolledModel` writes as operations on whole arrays,
so that features and hidden layers never leave the processor's cache. float32 or float64 alike.
Letters: see candidates.py; D width, F features, H hidden width, I groups (component, option).
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.products import add_product, add_products, moments, normalise

__all__ = ["sum_groups", "task_values", "update_tasks"]

# Lets the compiler reorder sums inside one product; infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_CLIP = -10.0
_CHUNK = 256


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

    states [C, D], posterior [C], value_weight [D, 2 D], certain_weight [D].
    """
    count, width = states.shape
    values = np.empty((count, width + 1), states.dtype)
    normed = np.empty((count, width + 1), states.dtype)
    for chunk in numba.prange((count + _CHUNK - 1) // _CHUNK):
        x = np.empty((_CHUNK, width), states.dtype)
        products = np.zeros((_CHUNK, 2 * width), states.dtype)
        begin = chunk * _CHUNK
        number = min(count - begin, _CHUNK)
        for n in range(number):
            c = begin + n
            mean, factor = moments(states[c], width)
            for d in range(width):
                normal = (states[c, d] - mean) * factor
                x[n, d] = normal * value_scale[d] + value_shift[d]
                normed[c, d] = normal * task_scale[d] + task_shift[d]
        add_products(x, value_weight, products, number)
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
    """One layer of all tasks; `states` [C, D] are overwritten.

    messages [Q, D + 2]: of the rows. log_prior [I] of options, option_part [I, H] their mean
    states through the hidden layer, log_options [J]. posterior [C]: the last layer's.
    own_weight [F, H], mean_weight [D + 2, H], output_weight [H, D], trust [2], answer_weight [D];
    norms are [2, D].
    Returns logits, log posteriors and posteriors, [C] each.
    """
    count, width = states.shape
    features, hidden = own_weight.shape
    columns = messages.shape[1]
    models = 2
    dtype = states.dtype
    zero, one = dtype.type(0), dtype.type(1)
    clip = dtype.type(_CLIP)
    least = np.exp(clip)
    logits = np.empty(count, dtype)
    new_log = np.empty(count, dtype)
    new_posterior = np.empty(count, dtype)
    flat_messages = messages.reshape(-1)
    most = 1
    for t in range(len(candidate_start) - 1):
        most = max(most, candidate_start[t + 1] - candidate_start[t])
    for chunk in numba.prange(len(chunk_start) - 1):
        sums = np.empty((most, columns), dtype)
        flat_sums = sums.reshape(-1)
        x = np.zeros((most, features), dtype)
        hide = np.empty((most, hidden), dtype)
        share = np.empty(most, dtype)
        logs = np.empty((most, models), dtype)
        shares = np.empty((most, models), dtype)
        common = np.empty(hidden, dtype)
        mean = np.zeros(width + 2, dtype)
        normal = np.empty(width, dtype)
        for t in range(chunk_start[chunk], chunk_start[chunk + 1]):
            first = candidate_start[t]
            number = candidate_start[t + 1] - first
            answers = entry_start[pair_start[t + 1]] - entry_start[pair_start[t]]
            component = component_of_task[t]
            for j in range(number):
                share[j] = 0
            for f in range(number * columns):
                flat_sums[f] = 0
            for p in range(pair_start[t], pair_start[t + 1]):
                for j in range(number):
                    if candidate_option[first + j] == pair_option[p]:
                        share[j] += entry_start[p + 1] - entry_start[p]
                for e in range(entry_start[p], entry_start[p + 1]):
                    row = row_start[neighbour_pair[e]]
                    if is_tied[t]:
                        for j in range(number):
                            source = row + (candidate_option[first + j] != pair_option[p])
                            for f in range(columns):
                                sums[j, f] += messages[source, f]
                    else:
                        # The rows of all candidates stand together.
                        begin = row * columns
                        for f in range(number * columns):
                            flat_sums[f] += flat_messages[begin + f]
            some = dtype.type(max(answers, 1))
            per_answer, per_root = one / some, one / np.sqrt(some)

            # Log posteriors of the models of confusions and of one coin.
            for g in range(models):
                top = dtype.type(-np.inf)
                for j in range(number):
                    logs[j, g] = sums[j, width + g] + log_prior[candidate_group[first + j]]
                    top = max(top, logs[j, g])
                total = zero
                for j in range(number):
                    shares[j, g] = np.exp(logs[j, g] - top)
                    total += shares[j, g]
                log_total = top + np.log(total)
                for j in range(number):
                    shares[j, g] /= total
                    x[j, 3 * width + 7 + g] = max(logs[j, g] * per_root, clip)
                    logs[j, g] = max(logs[j, g] - log_total, clip)

            # What the candidates of a task have in common.
            for d in range(width):
                mean[d] = 0
            for j in range(number):
                normalise(states[first + j], task_norm[0], task_norm[1], x[j])
                for d in range(width):
                    mean[d] += x[j, d]
            for d in range(width):
                mean[d] /= number
            mean[width] = np.log(one + answers)
            mean[width + 1] = log_options[component]
            for h in range(hidden):
                common[h] = hidden_bias[h]
            add_product(mean, mean_weight, common)

            for j in range(number):
                group = candidate_group[first + j]
                for d in range(width):
                    x[j, width + d] = sums[j, d] * per_answer
                    x[j, 2 * width + d] = sums[j, d] * per_root
                x[j, 3 * width] = share[j] * per_answer
                x[j, 3 * width + 1] = posterior[first + j]
                x[j, 3 * width + 2] = log_prior[group]
                for g in range(models):
                    x[j, 3 * width + 3 + g] = logs[j, g]
                    x[j, 3 * width + 5 + g] = max(shares[j, g], least)
                for h in range(hidden):
                    hide[j, h] = common[h] + option_part[group, h]
            add_products(x, own_weight, hide, number)
            for j in range(number):
                for h in range(hidden):
                    hide[j, h] = max(hide[j, h], zero)
                for d in range(width):
                    states[first + j, d] += output_bias[d]
            add_products(hide, output_weight, states[first : first + number], number)

            top = dtype.type(-np.inf)
            for j in range(number):
                c = first + j
                normalise(states[c], answer_norm[0], answer_norm[1], normal)
                answer = trust[0] * logs[j, 0] + trust[1] * logs[j, 1]
                for d in range(width):
                    answer += normal[d] * answer_weight[d]
                logits[c] = answer
                top = max(top, logits[c])
            total = zero
            for c in range(first, first + number):
                new_posterior[c] = np.exp(logits[c] - top)
                total += new_posterior[c]
            log_total = top + np.log(total)
            for c in range(first, first + number):
                new_posterior[c] /= total
                new_log[c] = logits[c] - log_total
    return logits, new_log, new_posterior
