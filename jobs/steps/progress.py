"""How steps that take minutes say how far they are."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Say"]

Say = Callable[[str], None]  # takes a line
