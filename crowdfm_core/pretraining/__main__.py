"""Command line of pre-training: `crowdfm pretrain train|export|heads|ablate|plot --help`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crowdfm_core.errors import ConfigError, CrowdFMError

if TYPE_CHECKING:
    import torch

    from crowdfm_core.pretraining.training import Measure

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 2 after an error that the message explains."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        arguments.run_command(arguments)
    except CrowdFMError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crowdfm pretrain", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train on synthetic crowds, or go on with a run")
    train.add_argument("--recipe", type=Path, required=True, help="conf/pretraining/NAME.yaml")
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument("--minutes", type=float, help="end after this training time, cooled down")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe, as seed=2"
    )
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    train.add_argument(
        "--start-from", type=Path, metavar="DIR", help="run, or frozen weights, to start from"
    )
    train.add_argument("--measure", type=Path, metavar="DIR", help="real sets, only to be logged")
    train.add_argument("--threads", type=int, help="of the CPU (default: all)")
    _add_device(train)
    train.set_defaults(run_command=_train)

    export = commands.add_parser("export", help="freeze the averaged weights of a run")
    export.add_argument("--run", type=Path, required=True, help="folder of the run")
    export.add_argument("--out", type=Path, required=True, help="folder of frozen weights")
    export.add_argument(
        "--head-crowds", type=int, default=512, help="crowds that heads are fitted on"
    )
    export.add_argument(
        "--blend-with", type=Path, metavar="DIR", help="frozen weights, or run, it started from"
    )
    export.add_argument("--share", type=float, default=0.5, help="of the run in the blend")
    _add_device(export)
    export.set_defaults(run_command=_export)

    heads = commands.add_parser("heads", help="measure the heads of frozen weights, as Markdown")
    heads.add_argument("--weights", type=Path, required=True, help="folder of frozen weights")
    heads.add_argument(
        "--recipe", type=Path, action="append", default=[], help="crowds beside the weights' own"
    )
    heads.add_argument("--data", type=Path, metavar="DIR", help="real sets with truth")
    heads.add_argument("--plot", type=Path, metavar="FILE", help="scatter plots (.png, .svg)")
    heads.add_argument("--crowds", type=int, default=256, help="fresh crowds of each recipe")
    heads.add_argument(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help="fit a calibration head; write them here first",
    )
    heads.add_argument(
        "--head-crowds", type=int, default=512, help="crowds that it is fitted on, as in export"
    )
    heads.add_argument("--least-gold", type=int, default=5, help="gold answers that a worker needs")
    _add_device(heads)
    heads.set_defaults(run_command=_heads)

    ablate = commands.add_parser("ablate", help="train variants of a recipe and compare them")
    ablate.add_argument("--plan", type=Path, required=True, help="conf/pretraining/ablations.yaml")
    ablate.add_argument("--out", type=Path, required=True, help="folder of all runs and the report")
    ablate.add_argument("--data", type=Path, metavar="DIR", help="real sets, only to measure")
    budget = ablate.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="of every run, in place of the plan's")
    budget.add_argument("--minutes-per-run", type=float, help="training time in place of steps")
    ablate.add_argument("--seeds", type=int, help="runs of every variant, in place of the plan's")
    ablate.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these variants and the base"
    )
    ablate.add_argument("--resume", action="store_true", help="go on; finished runs are kept")
    ablate.add_argument("--json", type=Path, metavar="FILE", help="default: OUT/report.jsonl")
    ablate.add_argument("--threads", type=int, help="of the CPU (default: all)")
    _add_device(ablate)
    ablate.set_defaults(run_command=_ablate)

    plot = commands.add_parser("plot", help="draw the log of a run")
    plot.add_argument("--run", type=Path, required=True, help="folder of the run")
    plot.add_argument("--out", type=Path, help="picture (default: log.png in the run's folder)")
    plot.set_defaults(run_command=_plot)
    return parser


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu or cuda:0 (default: auto)")


def _device(name: str) -> torch.device:
    try:
        import torch
    except ImportError as error:
        problem = "pre-training needs torch; install the project with its extra: .[torch]"
        raise ConfigError([problem], where="environment") from error
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        problem = f"device {name}: this torch sees no CUDA device; use --device cpu"
        raise ConfigError([problem], where="--device")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError([f"device {name}: {error}"], where="--device") from error


def _train(arguments: argparse.Namespace) -> None:
    device = _device(arguments.device)
    from crowdfm_core.pretraining.recipe import read_recipe
    from crowdfm_core.pretraining.training import train

    _use_threads(arguments.threads)
    recipe = read_recipe(arguments.recipe, arguments.set)
    train(
        recipe,
        arguments.out,
        device=device,
        minutes=arguments.minutes,
        resume=arguments.resume,
        start_from=arguments.start_from,
        measure=_measure(arguments.measure) if arguments.measure else None,
    )


def _use_threads(number: int | None) -> None:
    if number:
        import numba
        import torch

        torch.set_num_threads(number)
        numba.set_num_threads(number)


def _measure(folder: Path) -> Measure:
    """Return a function from a run's state to its accuracies on real sets, for the log alone."""
    import numpy as np

    from crowdfm_core import evaluation
    from crowdfm_core.pretraining.export import frozen
    from crowdfm_core.pretraining.run_files import Checkpoint

    datasets = evaluation.read_datasets(folder)

    def accuracies(contender: evaluation.Contender) -> dict[str, float]:
        return {
            dataset.name: evaluation.measure(dataset, contender, num_seeds=1).accuracy
            for dataset in datasets
        }

    voted = float(np.mean(list(accuracies(evaluation.classical("majority_vote")).values())))

    def measured(state: Checkpoint) -> dict[str, object]:
        of_set = accuracies(evaluation.frozen("crowdfm", frozen(state), num_draws=1))
        return {
            "real_accuracy": float(np.mean(list(of_set.values()))),
            "real_majority_vote_accuracy": voted,
            "real_accuracy_of_set": of_set,
        }

    return measured


def _export(arguments: argparse.Namespace) -> None:
    device = _device(arguments.device)
    from crowdfm_core.pretraining.export import export_run

    if not 0 < arguments.share <= 1:
        raise ConfigError([f"expected a number in (0, 1], got {arguments.share}"], where="--share")
    export_run(
        arguments.run,
        arguments.out,
        device=device,
        head_crowds=arguments.head_crowds,
        blend_with=arguments.blend_with,
        share=arguments.share,
    )


def _heads(arguments: argparse.Namespace) -> None:
    device = _device(arguments.device)
    from crowdfm_core.pretraining.head_command import calibrate_weights, report_heads

    weights = arguments.weights
    if arguments.calibrate is not None:
        calibrate_weights(weights, arguments.calibrate, head_crowds=arguments.head_crowds)
        weights = arguments.calibrate
    report = report_heads(
        weights,
        recipes=arguments.recipe,
        data=arguments.data,
        picture=arguments.plot,
        num_crowds=arguments.crowds,
        least_gold=arguments.least_gold,
        device=device,
    )
    sys.stdout.write(report)


def _ablate(arguments: argparse.Namespace) -> None:
    device = _device(arguments.device)
    from crowdfm_core.evaluation import find_datasets
    from crowdfm_core.pretraining.ablation import run_ablation
    from crowdfm_core.pretraining.ablation_plan import Budget, read_plan
    from crowdfm_core.pretraining.ablation_report import markdown_report, write_report

    _use_threads(arguments.threads)
    budget = Budget(
        steps=arguments.steps, minutes=arguments.minutes_per_run, num_seeds=arguments.seeds
    )
    ablation = read_plan(arguments.plan, budget)
    if arguments.only:
        ablation = ablation.only(arguments.only)
    results = run_ablation(
        ablation,
        arguments.out,
        device=device,
        data=find_datasets(arguments.data) if arguments.data else (),
        resume=arguments.resume,
        after_each=lambda done: write_report(done, arguments.out, json_file=arguments.json),
    )
    if results:
        sys.stdout.write(markdown_report(results))


def _plot(arguments: argparse.Namespace) -> None:
    _device("cpu")  # the log's format stands beside the checkpoint's, which needs torch
    from crowdfm_core.pretraining.plot import plot_log
    from crowdfm_core.pretraining.training import LOG_FILE

    plot_log(arguments.run / LOG_FILE, arguments.out or arguments.run / "log.png")


if __name__ == "__main__":
    sys.exit(main())
