"""Dawid-Skene on a drawn lake, as arrays, in SQL and by crowd-kit: `make bench-methods`.

`make bench-methods ARGS="--annotations 10000000 --projects 2000"` prints one JSON line of the form
of `make bench`. Every engine runs as a process of its own, one after another.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tests.bench.engine_routes import ITERATIONS, ROUTES
from tests.bench.harness import Result, publish
from tests.bench.process_tree import Watched, watch_or_exit

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen engines on one lake; 1 if their labels differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine_benchmark")
    parser.add_argument("--annotations", type=int, default=10_000_000)
    parser.add_argument("--projects", type=int, default=2_000)
    parser.add_argument("--engines", nargs="+", choices=ROUTES, default=list(ROUTES))
    parser.add_argument("--folder", type=Path, default=Path("data/bench/engines"))
    parser.add_argument("--driver-memory", default="8g", help="of the Java process")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the line to a file, too")
    chosen = parser.parse_args(arguments)
    result = _compare(
        chosen.annotations,
        chosen.projects,
        chosen.engines,
        chosen.folder.absolute(),
        chosen.driver_memory,
    )
    return publish([result], chosen.out)


def _compare(
    annotations: int, projects: int, engines: Sequence[str], folder: Path, driver_memory: str
) -> Result:
    """ours: seconds as arrays, from reading the lake to labels written, without the start of Spark;
    other: crowd-kit's. correct: every engine gives 99.9 % of the tasks the first engine's label."""
    lake = _draw_lake(annotations, projects, folder)
    seconds: dict[str, float] = {}
    details: dict[str, Any] = {}
    labels: dict[str, Path] = {}
    for engine in engines:
        out = folder / f"labels_{engine}"
        _remove(out)
        command = [sys.executable, "-m", "tests.bench.engine_routes"]
        command += [engine, str(lake), str(out), driver_memory]
        run = watch_or_exit(command, cwd=_ROOT, problem=f"{engine} failed")
        said = re.search(r"^seconds ([\d.]+)$", run.stdout, re.MULTILINE)
        assert said is not None  # the last thing that a route does
        seconds[engine] = float(said[1])
        labels[engine] = out
        details[engine] = {"seconds": seconds[engine], **_figures(run)}
    same = {
        engine: _share_of_equal_labels(labels[engines[0]], labels[engine]) for engine in engines
    }
    ours, other = seconds.get("arrays"), seconds.get("crowd-kit")
    return Result(
        benchmark="dawid_skene_lake",
        ours=seconds[engines[0]] if ours is None else ours,
        other=other,
        ratio=None if ours is None or other is None else other / ours,
        unit="seconds",
        correct=all(share >= 0.999 for share in same.values()),
        details={
            "annotations": annotations,
            "projects": projects,
            "iterations": ITERATIONS,
            "engines": details,
            "labels_equal_to_the_first": same,
        },
    )


def _figures(run: Watched) -> dict[str, Any]:
    began, ended = run.samples[0].epoch_seconds, run.samples[-1].epoch_seconds
    return {
        "seconds_of_the_process": run.seconds,
        "peak_memory_bytes": run.peak_memory_bytes(),
        "process_cpu_seconds": run.cpu_seconds(began, ended),
    }


def _draw_lake(annotations: int, projects: int, folder: Path) -> Path:
    """A lake in which every row counts, drawn if it is not there yet."""
    lake = folder / f"lake_{annotations}_{projects}"
    done = lake / ".complete"
    if not done.exists():
        command = [str(Path(sys.executable).parent / "crowdfm"), "simulate", "lake"]
        command += ["--out", str(lake), "--format", "parquet", "--overwrite"]
        command += ["--annotations", str(annotations), "--projects", str(projects)]
        command += ["--bad-rows", "0", "--repeated-rows", "0"]
        watch_or_exit(command, cwd=_ROOT, problem="the lake could not be drawn")
        done.touch()
    return lake


def _share_of_equal_labels(one: Path, other: Path) -> float:
    left, right = (parquet.read_table(path) for path in (one, other))
    both = left.join(right, ["project", "task"], join_type="full outer", right_suffix="_other")
    same = pc.fill_null(pc.equal(both["label"], both["label_other"]), pa.scalar(False))
    share: float = pc.mean(same.cast(pa.float64())).as_py()
    return share


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


if __name__ == "__main__":
    sys.exit(main())
