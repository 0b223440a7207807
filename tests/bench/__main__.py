"""Runs the benchmarks: `make bench ARGS="kernel_senti default_senti"`; all of them by default.

Prints one JSON line per benchmark: benchmark, ours, other, ratio, unit, correct, details, machine.
`tests/bench/baseline.jsonl` holds the lines of the last measured baseline.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.bench.harness import Result, publish
from tests.bench.kernel_benchmark import kernel_senti
from tests.bench.method_benchmarks import METHOD_BENCHMARKS
from tests.bench.scorer_benchmarks import scaling, small_graphs, weights_senti

__all__ = ["main"]

_BENCHMARKS: dict[str, Callable[[], Result]] = {
    "kernel_senti": kernel_senti,
    "default_senti": partial(weights_senti, "default"),
    "fast_senti": partial(weights_senti, "fast"),
    "small_graphs": small_graphs,
    "scaling": scaling,
    **METHOD_BENCHMARKS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen benchmarks; 1 if a result is not correct."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(_BENCHMARKS)} (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the lines to a file, too")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="picture of `scaling`")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.name) - set(_BENCHMARKS))
    if unknown:
        parser.error(f"expected names of {', '.join(_BENCHMARKS)}, got {', '.join(unknown)}")
    benchmarks = _BENCHMARKS | {"scaling": partial(scaling, plot=chosen.plot)}
    names = chosen.name or list(_BENCHMARKS)
    return publish((benchmarks[name]() for name in names), chosen.out)


if __name__ == "__main__":
    sys.exit(main())
