"""`crowdfm evaluate`: every method's accuracy on data sets with known truth."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from crowdfm_core.errors import ConfigError, InputError
from crowdfm_core.evaluation.contenders import (
    Contender,
    classical,
    frozen,
    read_weights,
    weights_name,
)
from crowdfm_core.evaluation.datasets import find_datasets
from crowdfm_core.evaluation.plot import plot_evaluation
from crowdfm_core.evaluation.published import PublishedTable, read_published_table
from crowdfm_core.evaluation.report import json_records, markdown_report
from crowdfm_core.evaluation.run import Evaluation, evaluate_folders
from crowdfm_core.evaluation.summary import BASELINE
from crowdfm_core.methods.registry import CROWDFM, DEFAULT_MAX_BYTES, METHODS

__all__ = ["main"]

_UNFORESEEN, _NOTHING_MEASURED = 1, 2

_EPILOG = """\
DIR holds one folder per data set, with label.csv (task, worker, answer) and truth.csv (task,
truth). Truth only measures. Exit code: 0 also where some sets or methods are reported as not
measured, 1 if one of them failed in an unforeseen way, 2 if nothing could be measured.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code. Raises CrowdFMError for what is to be refused."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders = find_datasets(arguments.folder)
    published = read_published_table(arguments.reference) if arguments.reference else None
    evaluation = evaluate_folders(
        folders,
        _contenders(arguments),
        num_seeds=arguments.num_seeds,
        drop_repeated=arguments.drop_repeated,
    )
    _write(evaluation, published, arguments)
    for problem in evaluation.problems:
        what = f"{problem.dataset}, {problem.method}" if problem.method else problem.dataset
        sys.stderr.write(f"not measured: {what}: {problem.message}\n")
    if not evaluation.measurements:
        return _NOTHING_MEASURED
    return _UNFORESEEN if any(problem.unforeseen for problem in evaluation.problems) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crowdfm evaluate",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of data sets")
    parser.add_argument(
        "--methods",
        metavar="A,B",
        help=f"of {', '.join((*METHODS, CROWDFM.name))} (default: those defined on "
        f"every project); {BASELINE} is always there",
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="[NAME=]PATH",
        help="folder of frozen weights, `default`, or a published checkpoint (.pt, needs torch); "
        "may be given several times",
    )
    parser.add_argument("--num-seeds", type=_positive, default=5, help="of methods that use one")
    parser.add_argument("--num-draws", type=_positive, default=4, help="of the option vectors")
    parser.add_argument("--device", default="cpu", help="of frozen weights: cpu or cuda:0")
    parser.add_argument("--drop-repeated", action="store_true", help="one answer per task, worker")
    parser.add_argument(
        "--max-bytes", type=_positive, default=DEFAULT_MAX_BYTES, help="memory of a method's arrays"
    )
    parser.add_argument(
        "--reference", type=Path, metavar="CSV", help="published accuracies: method, data sets"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture (.png, .svg, .pdf)")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="file for one JSON line per data set and method; - for stdout, without Markdown",
    )
    return parser


def _contenders(arguments: argparse.Namespace) -> list[Contender]:
    if arguments.methods is None:
        names = [m.name for m in METHODS.values() if not m.undefined_on] + [CROWDFM.name]
    else:
        names = [name.strip() for name in arguments.methods.split(",") if name.strip()]
    given = list(arguments.weights)
    if CROWDFM.name in names and not given:
        given = ["default"]
    classical_names = dict.fromkeys([BASELINE, *(name for name in names if name != CROWDFM.name)])
    contenders = [classical(name, max_bytes=arguments.max_bytes) for name in classical_names]
    for name, path in map(weights_name, given):
        contenders.append(
            frozen(name, read_weights(path), device=arguments.device, num_draws=arguments.num_draws)
        )
    used = [contender.name for contender in contenders]
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice:
        problem = f"several are called {', '.join(twice)}; give weights a name: NAME=PATH"
        raise ConfigError([problem], where="--weights")
    return contenders


def _write(
    evaluation: Evaluation, published: PublishedTable | None, arguments: argparse.Namespace
) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in json_records(evaluation, published))
    if arguments.json == "-":
        sys.stdout.write(lines)
    else:
        sys.stdout.write(markdown_report(evaluation, published))
        if arguments.json:
            try:
                Path(arguments.json).write_text(lines, encoding="utf-8")
            except OSError as error:
                raise InputError(f"{arguments.json} cannot be written: {error}") from error
    if arguments.plot:
        plot_evaluation(evaluation, arguments.plot, published)


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value
