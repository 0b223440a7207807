"""The NumPy backend's promise that a batch's other rows leave no trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfm_core.backends.numpy_backend import NumpyOps


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
