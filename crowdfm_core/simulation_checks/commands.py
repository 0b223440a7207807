"""Command line of the simulator's checks: `crowdfm simulate resemblance|worlds --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from crowdfm_core.errors import ConfigError

__all__ = ["main"]

# Recipes that can be named without a path, where the project is a checkout.
_RECIPES = Path(__file__).parents[2] / "conf" / "pretraining"
_DEFAULT_RECIPES = ("paper", "uniform", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0. Raises CrowdFMError with one message for errors of the user's."""
    arguments = _parser().parse_args(argv)
    arguments.run_command(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crowdfm simulate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    resemblance = commands.add_parser(
        "resemblance",
        help="distances between synthetic crowds and real sets",
        description="Describes synthetic crowds by 16 statistics of accuracy and load and by "
        "diagnostics, and measures how far their distributions are from those of real sets.",
    )
    resemblance.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="real sets (NAME/label.csv, truth.csv); without them only quantiles are printed",
    )
    resemblance.add_argument(
        "--recipe",
        nargs="+",
        default=list(_DEFAULT_RECIPES),
        metavar="NAME_OR_FILE",
        help=f"of conf/pretraining, or YAML files (default: {' '.join(_DEFAULT_RECIPES)})",
    )
    resemblance.add_argument("--crowds", type=_positive, default=200, help="drawn of each recipe")
    resemblance.add_argument("--seed", type=int, default=1, help="equal seeds give equal tables")
    resemblance.add_argument(
        "--json", type=Path, metavar="FILE", help="file for one JSON line per source and statistic"
    )
    resemblance.add_argument("--plot", type=Path, metavar="FILE", help="picture, such as .png")
    resemblance.set_defaults(run_command=_resemblance)
    return parser


def _resemblance(arguments: argparse.Namespace) -> None:
    from crowdfm_core.evaluation import read_datasets
    from crowdfm_core.pretraining.recipe import read_recipe
    from crowdfm_core.simulation_checks import resemblance
    from crowdfm_core.simulation_checks.resemblance_plot import plot_samples

    recipes = [read_recipe(_recipe_file(name)) for name in arguments.recipe]
    real = resemblance.sample_of_datasets(read_datasets(arguments.data)) if arguments.data else None
    synthetic = [
        resemblance.sample_of_recipe(recipe, crowds=arguments.crowds, seed=arguments.seed)
        for recipe in recipes
    ]
    samples = [*([real] if real else []), *synthetic]
    if real:
        table = resemblance.distance_table(real, synthetic, seed=arguments.seed)
        sys.stdout.write(table + "\n\n")
    sys.stdout.write(resemblance.quantile_table(samples) + "\n")
    if arguments.json:
        _write_json_lines(arguments.json, resemblance.json_records(samples, real))
    if arguments.plot:
        plot_samples(samples, arguments.plot)


def _recipe_file(name: str) -> Path:
    """The file of a recipe given by path, or by name in conf/pretraining."""
    for path in (Path(name), _RECIPES / f"{name}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in _RECIPES.glob("*.yaml"))) or "none"
    problem = f"expected a YAML file or one of the recipes {known}, got {name!r}"
    raise ConfigError([problem], where="--recipe")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number >= 1, got {value}")
    return value


def _write_json_lines(path: Path, records: Sequence[dict[str, object]]) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(lines, encoding="utf-8")
