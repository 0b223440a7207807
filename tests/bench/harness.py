"""How benchmarks are timed and reported: one JSON line each, with machine and versions."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["Result", "Timed", "alternate", "machine", "num_threads", "publish"]

_PACKAGES = ("numpy", "numba", "torch", "crowd-kit", "pyspark", "delta-spark")


@dataclass(frozen=True)
class Result:
    """One benchmark: what we take, what the other takes, and whether the two agree.

    ratio: how many times better ours is, other / ours for times; null without an other. correct:
    whether the result passed the check that the benchmark describes.
    """

    benchmark: str
    ours: float
    other: float | None
    ratio: float | None
    unit: str
    correct: bool
    details: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the result as one line of JSON, with the machine it was measured on."""
        values = {name: _short(value) for name, value in asdict(self).items()}
        return json.dumps(values | {"machine": machine()})


@dataclass(frozen=True)
class Timed:
    """Median wall seconds of two routes, and what each returned the last time."""

    ours: float
    other: float
    our_result: Any
    other_result: Any

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.other / self.ours


def publish(results: Iterable[Result], out: Path | None) -> int:
    """Print each result as soon as it is there, and write all of them to `out`; returns the exit
    code: 1 if one of them is not correct."""
    lines, code = [], 0
    for result in results:
        code |= not result.correct
        lines.append(result.line() + "\n")
        sys.stdout.write(lines[-1])
        sys.stdout.flush()
        if out is not None:
            out.write_text("".join(lines), encoding="utf-8")
    return code


def alternate(ours: Callable[[], Any], other: Callable[[], Any], *, repeats: int) -> Timed:
    """Run both once to warm up, then in turn; what else the machine does then strikes both."""
    ours(), other()
    seconds: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = [None, None]
    for _ in range(repeats):
        for place, route in enumerate((ours, other)):
            results[place] = None  # the last result must not take memory from the next run
            gc.collect()
            began = time.perf_counter()
            results[place] = route()
            seconds[place].append(time.perf_counter() - began)
    return Timed(*(statistics.median(taken) for taken in seconds), *results)


def num_threads() -> int:
    """Processors that this process may use; `taskset` and containers restrict them."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """Say on what a figure was measured."""
    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "")
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "threads": num_threads(),
        "memory_gib": round(int(memory.split()[1]) / 2**20) if memory else None,
        "system": platform.system(),
        "loop_seconds": _loop_seconds(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


@cache
def _loop_seconds() -> float:
    """Wall seconds of ten million additions in Python, on one thread, taken once per process:
    machines that call themselves the same differ threefold."""
    began, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return round(time.perf_counter() - began, 2)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _short(value: Any) -> Any:
    """Round to four significant figures; a benchmark has no more."""
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
