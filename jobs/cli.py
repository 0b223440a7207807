"""The `crowdfm` command: one word per task, everything behind it imported only when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

__all__ = ["main"]

# Exit codes: 0 done, 1 an unforeseen error (with a traceback), 2 a refusal with one clear message.
_REFUSED = 2

# Command -> (module, function taking the remaining arguments, what it does).
_COMMANDS = {
    "nightly": ("jobs.nightly", "main", "label a lake of annotations into Delta tables (Spark)"),
    "score": ("jobs.cli", "score", "label one file, without Spark and without configuration"),
    "sql": ("jobs.sql_command", "main", "show the rows of one query over Delta tables (Spark)"),
    "demo-lake": (
        "jobs.cli",
        "write_demo_lake",
        "write a small synthetic lake to try the job on",
    ),
    "simulate": ("jobs.simulate", "main", "write a synthetic lake, or check the simulator"),
    "evaluate": ("crowdfm_core.evaluation.command", "main", "accuracy on data sets with truth"),
    "methods": ("crowdfm_core.methods.command", "main", "list the methods, papers and results"),
    "pretrain": ("crowdfm_core.pretraining.__main__", "main", "train frozen weights (needs torch)"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; 2 with one message for errors of the user's."""
    width = max(map(len, _COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {does}" for name, (_, _, does) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="crowdfm",
        description="Labels and worker scores from crowdsourced annotations.",
        epilog=f"commands:\n{commands}\n\ncrowdfm COMMAND --help tells more about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="crowdfm COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"crowdfm {version('crowdfm')}")
    parser.add_argument("command", choices=_COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = parser.parse_args(given or ["--help"])

    from crowdfm_core.errors import CrowdFMError  # loads the core, which --help need not wait for

    module, function, _ = _COMMANDS[chosen.command]
    run: Callable[[list[str]], int] = getattr(import_module(module), function)
    try:
        return run(chosen.rest)
    except CrowdFMError as error:
        print(f"crowdfm {chosen.command}: {error}", file=sys.stderr)
        return _REFUSED


def score(arguments: Sequence[str]) -> int:
    """Label one file; see crowdfm_core/score_file.py for formats, columns and rules."""
    from crowdfm_core.assignment_rule import AssignmentRule
    from crowdfm_core.errors import ConfigError

    parser = argparse.ArgumentParser(
        prog="crowdfm score",
        description="Labels every task of one file and scores its workers. Writes labels and "
        "worker_scores in the format of the file, with --assign also assignments, and rejected.csv "
        "if rows were unusable.",
    )
    parser.add_argument("file", type=Path, help="annotations: .csv, .tsv, .jsonl or .parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results that are already in the folder"
    )
    for role in ("task", "worker", "label", "project", "time"):
        parser.add_argument(f"--{role}", metavar="COLUMN", help="instead of guessing by name")
    parser.add_argument("--weights", default="default", help="a folder with manifest.json")
    parser.add_argument(
        "--assign",
        type=int,
        metavar="N",
        help="also list, for every doubtful task, the N workers who should answer it next",
    )
    parser.add_argument(
        "--max-probability",
        type=float,
        metavar="P",
        help=f"of a doubtful task's label (default: {AssignmentRule.max_probability})",
    )
    chosen = parser.parse_args(arguments)
    if chosen.assign is None and chosen.max_probability is not None:
        parser.error("--max-probability is of --assign, which is not there")
    rule = None
    if chosen.assign is not None:
        limit = chosen.max_probability
        limit = AssignmentRule.max_probability if limit is None else limit
        try:
            rule = AssignmentRule(chosen.assign, limit)
        except ConfigError as error:
            parser.error(f"--assign, --max-probability: {error}")

    from crowdfm_core.score_file import score_file

    summary = score_file(
        chosen.file,
        chosen.out,
        overwrite=chosen.overwrite,
        columns={
            role: getattr(chosen, role)
            for role in ("task", "worker", "label", "project", "time")
            if getattr(chosen, role) is not None
        },
        weights=chosen.weights,
        assignments=rule,
    )
    print(summary)
    return 0


def write_demo_lake(arguments: Sequence[str]) -> int:
    """Write the demo lake of jobs/demo.py as Delta tables."""
    parser = argparse.ArgumentParser(
        prog="crowdfm demo-lake",
        description="Writes the Delta tables annotations and gold_labels of a synthetic lake.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the lake")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal lakes")
    parser.add_argument("--overwrite", action="store_true", help="replace a lake that is there")
    chosen = parser.parse_args(arguments)

    from crowdfm_core.config import SparkConfig
    from jobs.demo import demo_lake
    from jobs.lake import write_lake
    from jobs.session import make_session

    spark = make_session(SparkConfig(master="local[*]", app_name="crowdfm-demo-lake"))
    print(write_lake(spark, demo_lake(chosen.seed), chosen.out, overwrite=chosen.overwrite))
    return 0


if __name__ == "__main__":
    sys.exit(main())
