"""The unit in which SQL adds up shares, probabilities, weights and logarithms."""

from __future__ import annotations

__all__ = ["UNIT"]

# Whole multiples of 1 / UNIT are added, as the sum of doubles depends on their order. A multiple of
# 1 to 16, so that shares of few answers are exact, and ties of them ties; and small enough for the
# shares of 800 million tasks, or answers of one worker, in a bigint.
UNIT = 11_531_520_000
