"""BLAS beside compiled loops: one pool of threads at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to the calling thread.

    Its threads spin for a while after every product and so take the cores from the loops that
    come next: with both pools at work, a pass over the Senti set takes up to twice as long. The
    products here are small; what is large is in the loops.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
