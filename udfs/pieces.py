"""Cuts a long row of things with running sums into pieces of given ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql.pandas.functions import pandas_udf

__all__ = ["piece_of"]


def piece_of(ends: npt.NDArray[np.float64]) -> Any:
    """Return a function of a column (what stands before each thing) to its piece, int.

    ends [P] are the running sums at which the pieces end, rising; a thing belongs to the piece
    that it begins in, and to the last one where it begins at or beyond all ends.
    """

    def piece(before: pd.Series) -> pd.Series:
        found = np.searchsorted(ends, before.to_numpy(), side="right")
        return pd.Series(np.minimum(found, len(ends) - 1))

    return pandas_udf(piece, "int")  # type: ignore[call-overload]
