"""Compiled step of the unrolled model on the workers' side, for inference on the CPU.

Does for some workers after the other what `UnrolledModel.update_rows` writes as operations on whole
arrays. float32 or float64 alike. Letters: see candidates.py; D width, F features, H hidden width,
G pooled groups, U groups (worker, true option).
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from crowdfm_core.backends.products import ROWS, add_rows, normalise_rows
from crowdfm_core.backends.vector_memory import load, store
from crowdfm_core.backends.vectors import LANES, maximum, splat
from crowdfm_core.models.answer_statistics import FLOOR

__all__ = ["update_rows"]

_MANY = 64  # rows whose products are taken together: workers are added until there are as many


@numba.njit(cache=True)
def _last_worker(begin, end, worker_start):  # pragma: no cover
    """One past the last worker that is taken together with `begin`."""
    after = begin + 1
    while after < end and worker_start[after + 1] - worker_start[begin] <= _MANY:
        after += 1
    return after


@numba.njit(cache=True, error_model="numpy")
def _answer_statistics(
    begin,
    end,
    truth,
    learned,
    facts,
    log_others,
    row_pooled,
    share,
    worker_count,
    crowd,
    smoothing,
    per_truth,
    out,
):  # pragma: no cover
    """Write log probabilities of a worker's answers under the two classical models, see
    answer_statistics.py, to out [2, N] for the rows in [begin, end); truth [N]: where they are
    summed in per_truth."""
    expected_at = learned.shape[1] - 1
    one, floor = learned.dtype.type(1), learned.dtype.type(FLOOR)
    right = learned.dtype.type(0)
    for r in range(begin, end):
        per_truth[truth[r - begin]] = 0
    for r in range(begin, end):
        expected = learned[r, expected_at]
        per_truth[truth[r - begin]] += expected
        right += expected * facts[r, 0]
    accuracy = (right + smoothing[1] * crowd) / (worker_count + smoothing[1])
    for r in range(begin, end):
        expected, is_same, is_tied = learned[r, expected_at], facts[r, 0], facts[r, 1]
        of_truth = per_truth[truth[r - begin]]
        # A tied worker has one confusion for all answers: same or other.
        count = expected + is_tied * (of_truth - expected)
        total = of_truth + is_tied * (worker_count - of_truth)
        others = (one - is_same) * log_others[r]
        confusion = (count + smoothing[0] * share[row_pooled[r]]) / (total + smoothing[0])
        coin = is_same * accuracy + (one - is_same) * (one - accuracy)
        out[0, r - begin] = np.log(confusion + floor) - is_tied * others
        out[1, r - begin] = np.log(coin + floor) - others


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy", parallel=True)
def update_rows(
    worker_start,
    chunk_start,
    row_truth,
    row_pooled,
    rows,
    learned,
    row_count,
    row_root,
    facts,
    log_others,
    worker_count,
    truth_count,
    share,
    crowd,
    smoothing,
    pooled_part,
    norm,
    own_weight,
    truth_weight,
    worker_weight,
    hidden_bias,
    output_weight,
    output_bias,
    message_norm,
    message_weight,
):  # pragma: no cover
    """One layer of all rows [Q, D']: the new states, and what the tasks see of them [Q, D + 2].

    worker_start [W + 1]: first row of each worker; chunk_start: ranges of workers. learned
    [Q, D + 1]: of all tasks. row_count, row_root, log_others [Q], facts [Q, 4], worker_count [W],
    truth_count [U]: of `BatchSizes`. share [G]: pooled confusions, crowd [W]: the crowd's
    accuracy, smoothing [3]: see `answer_statistics`. pooled_part [G, H]: the pooled states through
    the hidden layer.
    own_weight [F, H], truth_weight and worker_weight [D', H], output_weight [H, D'],
    message_weight [D', D']; norms as of `wide_norm`. H and D', the width of the states here, are
    filled up with zeros to a multiple of 16.
    """
    count, width = rows.shape
    features, hidden = own_weight.shape
    narrow = learned.shape[1] - 1
    dtype = rows.dtype
    zero, one = dtype.type(0), dtype.type(1)
    new_rows = np.empty_like(rows)
    messages = np.empty((count, narrow + 2), dtype)
    for chunk in numba.prange(len(chunk_start) - 1):
        last = chunk_start[chunk + 1]
        most, begin = 0, chunk_start[chunk]
        while begin < last:
            after = _last_worker(begin, last, worker_start)
            most = max(most, worker_start[after] - worker_start[begin])
            begin = after
        room = most + ROWS
        truth = np.empty(room, np.int64)  # of each row, its worker's truths one after the other
        per_truth = np.empty(room, dtype)
        statistics = np.empty((2, room), dtype)
        x = np.zeros((room, features), dtype)
        hide = np.zeros((room, hidden), dtype)
        new = np.zeros((room, width), dtype)
        normal = np.zeros((room, width), dtype)
        mean = np.zeros((room, width), dtype)
        of_truth = np.zeros((room, hidden), dtype)
        same = np.zeros((room, width), dtype)
        of_worker = np.zeros((room, hidden), dtype)
        begin = chunk_start[chunk]
        while begin < last:
            after = _last_worker(begin, last, worker_start)
            start = worker_start[begin]
            number = worker_start[after] - start
            normalise_rows(rows, start * width, number, norm, x, 0, features)

            # What the rows of a worker, and of a worker and true option, have in common.
            truths = workers = 0
            for w in range(begin, after):
                first, end = worker_start[w] - start, worker_start[w + 1] - start
                if first == end:
                    continue
                first_truth, next_truth = row_truth[start + first], truths
                for n in range(first, end):
                    truth[n] = truths + row_truth[start + n] - first_truth
                    next_truth = max(next_truth, truth[n] + 1)
                _answer_statistics(
                    start + first,
                    start + end,
                    truth[first:],
                    learned,
                    facts,
                    log_others,
                    row_pooled,
                    share,
                    worker_count[w],
                    crowd[w],
                    smoothing,
                    per_truth,
                    statistics[:, first:],
                )
                mean[truths:next_truth] = 0
                same[workers] = 0
                for n in range(first, end):
                    r = start + n
                    by_same = facts[r, 0] * row_count[r]
                    for d in range(narrow):
                        mean[truth[n], d] += learned[r, d]
                        same[workers, d] += x[n, d] * by_same
                for u in range(truths, next_truth):
                    for d in range(narrow):
                        mean[u, d] /= truth_count[first_truth + u - truths]
                for d in range(narrow):
                    same[workers, d] /= worker_count[w]
                truths = next_truth
                workers += 1
            of_truth[:truths] = 0
            of_worker[:workers] = 0
            add_rows(mean, truth_weight, of_truth, truths)
            add_rows(same, worker_weight, of_worker, workers)

            workers = 0
            for w in range(begin, after):
                for r in range(worker_start[w], worker_start[w + 1]):
                    n = r - start
                    for h in range(0, hidden, LANES):
                        total = load(hidden_bias, h) + load(of_truth, truth[n] * hidden + h)
                        total = total + load(of_worker, workers * hidden + h)
                        total = total + load(pooled_part, row_pooled[r] * hidden + h)
                        store(hide, n * hidden + h, total)
                    per_answer, per_root = one / (row_count[r] + one), one / row_root[r]
                    for d in range(narrow):
                        x[n, width + d] = learned[r, d] * per_answer
                        x[n, 2 * width + d] = learned[r, d] * per_root
                    expected = learned[r, narrow]
                    for f in range(4):
                        x[n, 3 * width + f] = facts[r, f]
                    x[n, 3 * width + 4] = expected / row_count[r]
                    x[n, 3 * width + 5] = np.log(one + expected)
                    x[n, 3 * width + 6] = statistics[0, n]
                    x[n, 3 * width + 7] = statistics[1, n]
                    for d in range(0, width, LANES):
                        old = load(rows, r * width + d)
                        store(new, n * width + d, old + load(output_bias, d))
                workers += int(worker_start[w + 1] > worker_start[w])
            add_rows(x, own_weight, hide, number)
            for f in range(0, number * hidden, LANES):
                store(hide, f, maximum(load(hide, f), splat(zero)))
            add_rows(hide, output_weight, new, number)
            normalise_rows(new, 0, number, message_norm, normal, 0, width)
            for f in range(0, number * width, LANES):
                store(new_rows, start * width + f, load(new, f))
                store(new, f, splat(zero))
            add_rows(normal, message_weight, new, number)
            for n in range(number):
                for d in range(narrow):
                    messages[start + n, d] = new[n, d]
                messages[start + n, narrow] = statistics[0, n]
                messages[start + n, narrow + 1] = statistics[1, n]
            begin = after
    return new_rows, messages
