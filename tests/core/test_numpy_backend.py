"""The NumPy backend's promise that a batch's other rows leave no trace, and its sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crowdfm_core.backends.label_kernels import label_candidates
from crowdfm_core.backends.layouts import wide_norm
from crowdfm_core.backends.learn_kernels import sum_groups
from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.backends.torch_backend import TorchOps


@pytest.mark.parametrize("columns", [1, 2, 6, 48])
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 300), width=st.integers(1, 60))
def test_a_row_of_a_product_does_not_depend_on_other_rows(
    columns: int, seed: int, rows: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width), np.float32)
    weight = rng.standard_normal((width, columns), np.float32)
    first = int(rng.integers(0, rows))
    last = int(rng.integers(first, rows)) + 1
    ops = NumpyOps()
    whole = ops.rows_times(x, weight)
    np.testing.assert_array_equal(whole[first:last], ops.rows_times(x[first:last], weight))
    np.testing.assert_allclose(whole, x.astype(float) @ weight, atol=1e-4)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 300))
def test_a_row_of_two_layers_does_not_depend_on_other_rows(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    x, shared, hidden_weight, hidden_bias, output_weight, output_bias = (
        rng.standard_normal(shape, np.float32)
        for shape in ((rows, 3), (4, 5), (3, 5), 5, (5, 2), 2)
    )
    index = rng.integers(0, 4, rows).astype(np.int32)
    weights = hidden_weight, hidden_bias, output_weight, output_bias
    ops = NumpyOps()
    whole = ops.two_layers([x[:, :1], x[:, 1:]], [(shared, index)], *weights)
    first = int(rng.integers(0, rows))
    part = ops.two_layers([x[first:]], [(shared, index[first:])], *weights)
    np.testing.assert_array_equal(whole[first:], part)
    hidden = np.maximum(x.astype(float) @ hidden_weight + shared[index] + hidden_bias, 0)
    np.testing.assert_allclose(whole, hidden @ output_weight + output_bias, atol=1e-4)


@pytest.mark.parametrize("width", [6, 16, 20])  # with and without lanes that are filled up
def test_rows_are_normalised_scaled_and_shifted(width: int) -> None:
    rng = np.random.default_rng(width)
    x, scale, shift = rng.normal(3, 2, (300, width)), rng.normal(size=width), rng.normal(size=width)
    centred = x - x.mean(1, keepdims=True)
    expected = centred / np.sqrt(x.var(1, keepdims=True) + 1e-5) * scale + shift
    np.testing.assert_allclose(NumpyOps(np.float64).layer_norm(x, scale, shift), expected)


def test_sums_over_runs_are_weighted_and_zero_where_a_run_is_empty() -> None:
    x = np.random.default_rng(1).normal(size=(5, 3))
    weight, start = np.arange(1.0, 6)[:, None], np.array([0, 2, 2, 5], np.int32)
    expected = np.stack([(x * weight)[:2].sum(0), np.zeros(3), (x * weight)[2:].sum(0)])
    np.testing.assert_allclose(NumpyOps(np.float64).sum_runs(x, weight, start), expected)
    on_torch = TorchOps("cpu", dtype=torch.float64)
    for_training = on_torch.sum_runs(torch.from_numpy(x), torch.from_numpy(weight), start)
    np.testing.assert_allclose(for_training.numpy(), expected)


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_sums_by_option_do_not_depend_on_the_number_of_parts(parts: int, weighs: bool) -> None:
    rng = np.random.default_rng(2)
    states, posterior = rng.normal(size=(600, 16)), rng.random(600)
    group = rng.integers(0, 3, 600).astype(np.int32)
    norm = wide_norm(rng.normal(size=16), rng.normal(size=16))
    found = sum_groups(states, posterior, weighs, norm, group, 3, 16, parts)
    centred = states - states.mean(1, keepdims=True)
    normal = centred / np.sqrt(states.var(1, keepdims=True) + 1e-5) * norm[0] + norm[1]
    rows = np.column_stack([normal * posterior[:, None] if weighs else normal, posterior])
    expected = np.stack([rows[group == g].sum(0) for g in range(3)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    alone = sum_groups(states, posterior, weighs, norm, group, 3, 16, 1)
    np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("options", [1, 3, 16, 17, 40])  # few are sorted by insertion
def test_options_are_ranked_by_probability_then_by_place(options: int) -> None:
    probability = np.random.default_rng(options).integers(0, 5, options) / 5  # many are equal
    expected = sorted(range(options), key=lambda k: (-probability[k], k))
    offsets = np.array([0, options])
    nothing = np.zeros(1, np.int32)
    found = label_candidates(
        probability,
        offsets.astype(np.int32),
        np.arange(options, dtype=np.int32),
        np.zeros(2, np.int32),
        nothing[:0],
        nothing,
        offsets,
    )
    assert found[5].tolist() == expected
