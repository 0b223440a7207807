"""Vectors of sixteen lanes against NumPy."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest

from crowdfm_core.backends import vector_memory, vectors
from crowdfm_core.backends.vectors import LANES

DType = type[np.float32] | type[np.float64]
BOTH_TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@numba.njit
def _exp(x: Any, out: Any) -> None:  # pragma: no cover
    for i in range(0, len(x), LANES):
        vector_memory.store(out, i, vectors.exp(vector_memory.load(x, i)))


@numba.njit
def _steps(x: Any, out: Any, doubles: Any) -> Any:  # pragma: no cover
    vector_memory.prefetch(x, 0)
    a, b = vector_memory.load(x, 0), vector_memory.load(x, LANES)
    vector_memory.store(out, 0, a * b + a - b)
    vector_memory.store(out, LANES, vectors.maximum(a, b))
    vector_memory.store(out, 2 * LANES, vectors.inverse(a))
    vector_memory.store(out, 3 * LANES, vectors.quad_sum(a))
    vector_memory.store(out, 4 * LANES, vectors.quad_max(a))
    vector_memory.store(out, 5 * LANES, vectors.spread(a, 2))
    vector_memory.store(out, 6 * LANES, vector_memory.load_quad(x, 3))
    vector_memory.store(out, 7 * LANES, vectors.splat(x[5]))
    vector_memory.store_quad(out, 8 * LANES, b)
    vector_memory.store(out, 9 * LANES, vector_memory.load_everywhere(x, 7))
    vector_memory.store(out, 10 * LANES, vectors.first_lanes(a, 3, b))
    vector_memory.store(doubles, 0, vectors.as_double(a))
    above = vectors.any_above(a, b), vectors.any_above(a, a)
    return vectors.sum_lanes(a), vectors.max_lanes(b), above


@BOTH_TYPES
def test_exp_is_that_of_numpy_to_the_last_digits(dtype: DType) -> None:
    lowest = np.log(np.finfo(dtype).tiny) + 1
    x = np.linspace(lowest, 0, 1 << 16).astype(dtype)
    out = np.empty_like(x)
    _exp(x, out)
    expected = np.exp(x.astype(np.longdouble))
    assert np.abs(out / expected - 1).max() < (2e-7 if dtype is np.float32 else 1e-15)


@BOTH_TYPES
def test_exp_of_what_is_too_low_is_zero_and_of_nan_is_nan(dtype: DType) -> None:
    x = np.full(LANES, -np.inf, dtype)
    x[1:4] = -1e4, np.nan, 0
    out = np.empty_like(x)
    _exp(x, out)
    np.testing.assert_array_equal(out[:5], np.array([0, 0, np.nan, 1, 0], dtype))


@BOTH_TYPES
def test_steps_on_lanes_equal_those_on_arrays(dtype: DType) -> None:
    x: npt.NDArray[Any] = np.random.default_rng(1).normal(size=2 * LANES).astype(dtype)
    out, doubles = np.zeros(11 * LANES, dtype), np.zeros(LANES)
    total, largest, above = _steps(x, out, doubles)
    a, b = x[:LANES], x[LANES:]
    expected = [
        a * b + a - b,
        np.maximum(a, b),
        1 / a,
        np.tile(a.reshape(4, 4).sum(0), 4),
        np.tile(a.reshape(4, 4).max(0), 4),
        np.repeat(a[8:12], 4),
        np.tile(x[3:7], 4),
        np.full(LANES, x[5]),
        np.append(b[:4], np.zeros(LANES - 4)),
        np.full(LANES, x[7]),
        np.append(a[:3], b[3:]),
    ]
    np.testing.assert_allclose(out.reshape(11, LANES), expected, rtol=1e-5)
    np.testing.assert_array_equal(doubles, a)
    assert total == pytest.approx(a.sum(), rel=1e-5)
    assert largest == b.max()
    assert above == ((a > b).any(), False)


def test_an_array_with_gaps_is_refused() -> None:
    with pytest.raises(numba.TypingError, match="expected a contiguous array"):
        _exp(np.zeros(4 * LANES)[::2], np.zeros(2 * LANES))
