"""Compiled step of the unrolled model on the tasks' side, for inference on the CPU.

Does for one task after the other what `UnrolledModel` writes as operations on whole arrays,
so that features and hidden layers never leave the processor's cache. float32 or float64 alike.
Letters: see candidates.py; D width, F features, H hidden width, I groups (component, option).
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.products import add_rows, normalise_rows
from crowdfm_core.backends.task_steps import GATHERED, gather_messages, softmax, weigh_models
from crowdfm_core.backends.vector_memory import load, store
from crowdfm_core.backends.vectors import LANES, maximum, splat, sum_lanes

__all__ = ["update_tasks"]

# Lets the compiler reorder sums inside one product; infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_TASKS = 16  # tasks whose products are taken together, a multiple of these as well


@numba.njit(cache=True, fastmath=_FAST, parallel=True)
def update_tasks(
    candidate_start,
    candidate_option,
    candidate_group,
    is_tied,
    pair_start,
    pair_option,
    entry_start,
    neighbour_pair,
    row_start,
    chunk_start,
    messages,
    vote_share,
    root_answers,
    log_answers,
    log_options,
    log_prior,
    option_part,
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

    messages [Q, D + 2]: of the rows. vote_share [C]; root_answers, log_answers, log_options [T]: of
    the tasks' numbers of answers and options. log_prior [I] of options, option_part [I, H] their
    mean states through the hidden layer. posterior [C]: the last layer's.
    own_weight [F, H], mean_weight [D' + 2, H], output_weight [H, D'], trust [2], answer_weight
    [D']; norms as of `wide_norm`. H and D', the width of the states here, are filled up with
    zeros to a multiple of 16.
    Returns logits, log posteriors and posteriors, [C] each.
    """
    count, width = states.shape
    features, hidden = own_weight.shape
    columns = messages.shape[1]
    dtype = states.dtype
    zero, one = dtype.type(0), dtype.type(1)
    logits = np.empty(count, dtype)
    new_log = np.empty(count, dtype)
    new_posterior = np.empty(count, dtype)
    for chunk in numba.prange(len(chunk_start) - 1):
        most, most_answers = 0, 0
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _TASKS):
            after = min(begin + _TASKS, chunk_start[chunk + 1])
            answers = entry_start[pair_start[after]] - entry_start[pair_start[begin]]
            most = max(most, candidate_start[after] - candidate_start[begin])
            most_answers = max(most_answers, answers)
        room = most + LANES
        runs = np.empty(most_answers, np.int64)
        # Read to the next multiple of 16, so that even what has no weight must be a number.
        sums = np.zeros(room * columns + GATHERED, dtype)
        models = np.empty((8, room), dtype)
        x = np.zeros((room, features), dtype)
        hide = np.zeros((room, hidden), dtype)
        new = np.zeros((room, width), dtype)
        answer = np.empty((3, room), dtype)
        mean = np.zeros((_TASKS, width + 2), dtype)
        normal = np.empty((room, width), dtype)
        common = np.empty((_TASKS, hidden), dtype)
        for begin in range(chunk_start[chunk], chunk_start[chunk + 1], _TASKS):
            after = min(begin + _TASKS, chunk_start[chunk + 1])
            start = candidate_start[begin]
            number = candidate_start[after] - start
            gather_messages(
                begin,
                after,
                candidate_start,
                candidate_option,
                pair_start,
                pair_option,
                entry_start,
                neighbour_pair,
                row_start,
                is_tied,
                messages,
                runs,
                sums,
            )
            weigh_models(
                begin,
                after,
                candidate_start,
                candidate_group,
                log_prior,
                root_answers,
                sums,
                columns,
                models,
            )
            for n in range(number):
                x[n, 3 * width] = vote_share[start + n]
                x[n, 3 * width + 1] = posterior[start + n]
                for f in range(7):
                    x[n, 3 * width + 2 + f] = models[f, n]

            # What the candidates of a task have in common.
            normalise_rows(states, start * width, number, task_norm, x, 0, features)
            for t in range(begin, after):
                first, end = candidate_start[t] - start, candidate_start[t + 1] - start
                place = t - begin
                per_root = splat(one / root_answers[t])
                per_answer = per_root * per_root
                share = splat(one / dtype.type(max(end - first, 1)))
                for d in range(0, width, LANES):
                    total = splat(zero)
                    for n in range(first, end):
                        of_answers, at = load(sums, n * columns + d), n * features + d
                        total = total + share * load(x, at)
                        store(x, at + width, of_answers * per_answer)
                        store(x, at + 2 * width, of_answers * per_root)
                    store(mean, place * (width + 2) + d, total)
                mean[place, width] = log_answers[t]
                mean[place, width + 1] = log_options[t]
                for h in range(0, hidden, LANES):
                    store(common, place * hidden + h, load(hidden_bias, h))
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

            normalise_rows(new, 0, number, answer_norm, normal, 0, width)
            for n in range(number):
                scaled = splat(zero)
                for d in range(0, width, LANES):
                    store(states, (start + n) * width + d, load(new, n * width + d))
                    scaled = scaled + load(normal, n * width + d) * load(answer_weight, d)
                trusted = trust[0] * models[1, n] + trust[1] * models[2, n]
                answer[0, n] = sum_lanes(scaled) + trusted
            for t in range(begin, after):
                first, end = candidate_start[t] - start, candidate_start[t + 1] - start
                softmax(answer[0], first, end, answer[1], answer[2])
            for n in range(number):
                logits[start + n] = answer[0, n]
                new_posterior[start + n] = answer[1, n]
                new_log[start + n] = answer[2, n]
    return logits, new_log, new_posterior
