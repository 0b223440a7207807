"""The nightly job end to end, as a user runs it: `make bench-lake ARGS="senti 10m"`.

Delta in, Delta out, with the start of Spark. Prints one JSON line per size, of the form of
`make bench`. The lake is drawn once per size and kept in the folder; tables are written anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from crowdfm_core.simulation.lake import LakeSizes, draw_plans
from tests.bench.crowds import SENTI
from tests.bench.harness import Result, publish
from tests.bench.process_tree import Watched, watch_or_exit
from tests.cluster.event_log import read_tasks, task_totals

__all__ = ["LAKES", "main", "measure", "measure_second_night"]

_ROOT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent
_SEED = 1

LAKES = {
    "senti": LakeSizes(
        SENTI.annotations,
        1,
        answers_per_task=(SENTI.annotations / SENTI.tasks,) * 2,
        answers_per_worker=(SENTI.annotations / SENTI.workers,) * 2,
        options=SENTI.options,
    ),
    "1m": LakeSizes(1_000_000, 400),
    "10m": LakeSizes(10_000_000, 2_000),
    "40m": LakeSizes(40_000_000, 800, largest_share=0.75),  # one project of 30 million, in blocks
    "100m": LakeSizes(100_000_000, 2_000, largest_share=0.3),
}
_DEFAULT = ("senti", "10m")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen sizes; 1 if a result is not correct."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lake_benchmark")
    parser.add_argument("size", nargs="*", help=f"of {', '.join(LAKES)} (default: senti 10m)")
    parser.add_argument("--folder", type=Path, default=Path("data/bench"), help="for lakes, tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the lines to a file, too")
    parser.add_argument(
        "--second-night", action="store_true", help="also run again, on the lake with new answers"
    )
    parser.add_argument("--driver-memory", default="8g", help="of the Java process")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the nightly job"
    )
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.size) - set(LAKES))
    if unknown:
        parser.error(f"expected sizes of {', '.join(LAKES)}, got {', '.join(unknown)}")
    return publish(_results(chosen), chosen.out)


def _results(chosen: argparse.Namespace) -> Iterator[Result]:
    for size in chosen.size or _DEFAULT:
        options: dict[str, Any] = {
            "driver_memory": chosen.driver_memory,
            "settings": chosen.set,
        }
        yield measure(size, chosen.folder / size, **options)
        if chosen.second_night:
            yield measure_second_night(size, chosen.folder / size, **options)


def measure(
    size: str,
    folder: Path,
    *,
    driver_memory: str,
    settings: Sequence[str],
    conf: Mapping[str, str] | None = None,
    root: int | None = None,
) -> Result:
    """Run the job on one lake; settings: of `--set`; conf: what else Spark is told; root: process
    under which all of Spark runs, where that is not the command's.

    ours: wall seconds of the command. correct: all annotations and tasks of the lake are counted
    and labelled, and the model's labels are at most one point less accurate than the majority's
    (where `settings` left both among the methods).
    """
    lake_seconds = _draw_lake(LAKES[size], folder)
    for written in ("input", "tables"):
        shutil.rmtree(folder / written, ignore_errors=True)
    lake = _table(folder / "lake" / "annotations")
    _query(f"CREATE TABLE {_table(folder / 'input')} SHALLOW CLONE {lake}")  # it may grow
    configuration = _configuration(folder, driver_memory)
    configuration["spark"]["conf"] |= conf or {}
    name = f"lake_{size}"
    return _night(name, size, folder, configuration, settings, lake_seconds=lake_seconds, root=root)


def measure_second_night(
    size: str, folder: Path, *, driver_memory: str, settings: Sequence[str]
) -> Result:
    """Run the job again, into the tables that `measure` left, on a lake that has grown.

    A tenth of the tasks of three projects in ten have got one answer more, from a new worker each.
    """
    answers = (
        f"FROM {_table(folder / 'tables' / 'annotations')} "
        "WHERE pmod(xxhash64(project_id), 10) < 3 AND pmod(xxhash64(project_id, task_id), 10) < 1"
    )
    key = "project_id AS project, task_id AS task"
    added = f"SELECT {key}, concat('new ', task_id) AS worker, min(label) AS label, NULL {answers}"
    added += " GROUP BY project_id, task_id"
    _query(f"INSERT INTO {_table(folder / 'input')} {added}")
    number = re.search(
        r"\|(\d+) *\|", _query(f"SELECT count(DISTINCT project_id, task_id) {answers}")
    )
    assert number is not None  # a global aggregation has one row
    configuration = _configuration(folder, driver_memory)
    name = f"lake_{size}_second_night"
    return _night(name, size, folder, configuration, settings, added=int(number.group(1)))


def _night(
    name: str,
    size: str,
    folder: Path,
    configuration: dict[str, Any],
    settings: Sequence[str],
    *,
    added: int = 0,
    lake_seconds: float | None = None,
    root: int | None = None,
) -> Result:
    """Measure one run; added: answers that the lake has got since it was drawn."""
    shutil.rmtree(folder / "events", ignore_errors=True)
    (folder / "events").mkdir(parents=True)
    conf = folder / "nightly.yaml"
    conf.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    overrides = [word for setting in settings for word in ("--set", setting)]
    command = [str(_BIN / "crowdfm"), "nightly", "--conf", str(conf), "--json", *overrides]
    run = watch_or_exit(command, cwd=_ROOT, problem=f"{name}: the nightly job failed", root=root)
    summary = json.loads(run.stdout.splitlines()[-1])
    accuracy = _accuracy(folder)
    plans = draw_plans(LAKES[size], seed=_SEED)
    tasks = sum(plan.tasks for plan in plans)
    complete = summary["annotations"] == LAKES[size].annotations + added
    complete &= all(count == tasks for count in summary["labelled"].values())
    behind = accuracy.get("majority_vote", 0.0) - accuracy.get("crowdfm", 1.0)
    spark_tasks = read_tasks(folder / "events")
    started, ended = run.samples[0].epoch_seconds, run.samples[-1].epoch_seconds
    driver_memory = configuration["spark"]["conf"]["spark.driver.memory"]
    return Result(
        benchmark=name,
        ours=run.seconds,
        other=None,
        ratio=None,
        unit="seconds",
        correct=complete and behind <= 0.01,
        details={
            "annotations": summary["annotations"],
            "projects": summary["projects"],
            "largest_component": summary["largest_component"],
            "annotations_per_second": summary["annotations"] / run.seconds,
            "lake_seconds": lake_seconds,
            "projects_changed": summary["projects_changed"],
            "phase_seconds": summary["phase_seconds"],
            "outside_phases_seconds": run.seconds - sum(summary["phase_seconds"].values()),
            "peak_memory_bytes": run.peak_memory_bytes(),
            "process_cpu_seconds": run.cpu_seconds(started, ended),
            "tasks": asdict(task_totals(spark_tasks)),
            "phases": _phases(run, spark_tasks),
            "output_bytes": _bytes_under(folder / "tables"),
            "accuracy": accuracy,
            "settings": [f"spark.driver.memory={driver_memory}", *settings],
        },
    )


def _draw_lake(sizes: LakeSizes, folder: Path) -> float | None:
    """Draw the lake if it is not there yet; returns the seconds that took."""
    done = folder / "lake" / ".complete"
    sources = sorted((_ROOT / "crowdfm_core" / "simulation").glob("lake*.py"))
    sources.append(_ROOT / "jobs" / "lake.py")
    code = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    drawn_as = f"{sizes} by {code}"
    if done.exists() and done.read_text() == drawn_as:
        return None
    command = [
        *(str(_BIN / "crowdfm"), "simulate", "lake", "--out", str(folder / "lake")),
        *("--annotations", str(sizes.annotations), "--projects", str(sizes.projects)),
        *("--answers-per-task", *map(repr, sizes.answers_per_task)),
        *("--answers-per-worker", *map(repr, sizes.answers_per_worker)),
        *("--seed", str(_SEED), "--overwrite"),
    ]
    if sizes.largest_share is not None:
        command += ["--largest-share", repr(sizes.largest_share)]
    if sizes.options is not None:
        command += ["--options", str(sizes.options)]
    run = watch_or_exit(command, cwd=_ROOT, problem="the lake could not be drawn")
    done.write_text(drawn_as)
    return run.seconds


def _configuration(folder: Path, driver_memory: str) -> dict[str, Any]:
    roles = ("project_id", "task_id", "worker_id", "label", "annotated_at")
    columns = ("project", "task", "worker", "label", "answered_at")
    return {
        "input": {
            "path": str(folder / "input"),
            "columns": dict(zip(roles, columns, strict=True)),
        },
        "output": {"path": str(folder / "tables")},
        "scoring": {"device": "cpu"},
        "spark": {
            "master": "local[*]",
            "app_name": "crowdfm-bench-lake",
            "conf": {
                "spark.driver.memory": driver_memory,
                "spark.eventLog.enabled": "true",
                "spark.eventLog.compress": "false",
                "spark.eventLog.dir": (_ROOT / folder / "events").as_uri(),
            },
        },
    }


def _accuracy(folder: Path) -> dict[str, float]:
    """Accuracy of each method where truth is known, in [0, 1]."""
    query = (
        "SELECT method, avg(CAST(label <=> true_label AS double)) AS accuracy "
        f"FROM {_table(folder / 'tables' / 'aggregated_labels')} AS labels "
        f"JOIN {_table(folder / 'lake' / 'gold_labels')} AS gold "
        "ON gold.project <=> labels.project_id AND gold.task <=> labels.task_id GROUP BY method"
    )
    shown = _query(query)
    return {name: float(value) for name, value in re.findall(r"\|(\w+) *\|([\d.]+) *\|", shown)}


def _query(query: str) -> str:
    """What `crowdfm sql` prints."""
    command = [str(_BIN / "crowdfm"), "sql", query]
    return watch_or_exit(command, cwd=_ROOT, problem="the query failed").stdout


def _table(folder: Path) -> str:
    return f"delta.`{(_ROOT / folder).resolve()}`"


def _phases(run: Watched, spark_tasks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each phase what its Spark tasks and processes did; phases begin where the log says."""
    pattern = r"^(\S+ \S+),(\d{3}) INFO jobs\.run: run \S+: (\w+) \.\.\.$"
    begun = [
        (name, datetime.fromisoformat(at).timestamp() + int(thousandths) / 1000)
        for at, thousandths, name in re.findall(pattern, run.stderr, re.MULTILINE)
    ]
    ends = [*(start for _, start in begun[1:]), run.samples[-1].epoch_seconds]
    return {
        name: asdict(task_totals(spark_tasks, start=start, end=end))
        | {"process_cpu_seconds": run.cpu_seconds(start, end)}
        for (name, start), end in zip(begun, ends, strict=True)
    }


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
