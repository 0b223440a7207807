"""Command line of the simulator: `crowdfm simulate lake|resemblance|worlds --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from crowdfm_core.simulation.lake import MIXED, Lake, LakeSizes, draw_plans
from crowdfm_core.simulation.lake_answers import PRESETS
from crowdfm_core.simulation_checks.commands import add_commands

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0. Raises CrowdFMError with one message for errors of the user's."""
    parser = argparse.ArgumentParser(prog="crowdfm simulate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_lake(commands)
    add_commands(commands)
    arguments = parser.parse_args(argv)
    arguments.run_command(arguments)
    return 0


def _add_lake(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lake = commands.add_parser(
        "lake",
        help="write a lake of any size, with known truth (Spark)",
        description="Writes the tables annotations and gold_labels of a synthetic lake. The "
        "presets are the simulators that users of peerannot know. Equal settings and seeds give "
        "equal rows on any machine.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    lake.add_argument("--out", type=Path, required=True, help="folder of the lake")
    lake.add_argument("--annotations", type=int, required=True, metavar="N", help="distinct ones")
    lake.add_argument("--projects", type=int, required=True, metavar="P", help="of unequal sizes")
    lake.add_argument("--format", choices=("delta", "parquet", "csv"), default="delta")
    lake.add_argument("--overwrite", action="store_true", help="replace a lake that is there")
    lake.add_argument("--seed", type=int, default=1, help="equal seeds give equal lakes")
    lake.add_argument(
        "--preset", choices=(MIXED, *PRESETS), default=MIXED, help="mixed: one for each project"
    )
    lake.add_argument(
        "--largest-share", type=float, metavar="S", help="of the annotations in one project"
    )
    for name, low, high in (("task", 3.0, 8.0), ("worker", 50.0, 500.0)):
        lake.add_argument(
            f"--answers-per-{name}",
            nargs=2,
            type=float,
            default=(low, high),
            metavar=("LOW", "HIGH"),
            help="mean of a project",
        )
    lake.add_argument("--options", type=int, metavar="K", help="of every project; else 2 to 10")
    lake.add_argument("--gold", type=float, default=0.1, help="share of tasks with known truth")
    lake.add_argument(
        "--bad-rows", type=float, default=0.0125, help="unusable rows, as a share of annotations"
    )
    lake.add_argument(
        "--repeated-rows", type=float, default=0.02, help="answers given again, likewise"
    )
    lake.set_defaults(run_command=_write_lake)


def _write_lake(arguments: argparse.Namespace) -> None:
    sizes = LakeSizes(
        annotations=arguments.annotations,
        projects=arguments.projects,
        largest_share=arguments.largest_share,
        answers_per_task=tuple(arguments.answers_per_task),
        answers_per_worker=tuple(arguments.answers_per_worker),
        options=arguments.options,
        preset=arguments.preset,
    )
    lake = Lake(
        draw_plans(sizes, seed=arguments.seed),
        arguments.seed,
        bad_rows=arguments.bad_rows,
        repeated_rows=arguments.repeated_rows,
        gold=arguments.gold,
    )
    from crowdfm_core.config import SparkConfig
    from jobs.lake import write_lake
    from jobs.session import make_session

    spark = make_session(SparkConfig(master="local[*]", app_name="crowdfm-simulate-lake"))
    written = write_lake(
        spark, lake, arguments.out, format=arguments.format, overwrite=arguments.overwrite
    )
    sys.stdout.write(f"{written}\n")
