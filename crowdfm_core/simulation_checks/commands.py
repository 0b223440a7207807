"""Commands that check the simulator: `crowdfm simulate resemblance|worlds --help`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from crowdfm_core.errors import ConfigError, InputError

__all__ = ["add_commands"]

_T = TypeVar("_T")

# Recipes that can be named without a path, where the project is a checkout.
_RECIPES = Path(__file__).parents[2] / "conf" / "pretraining"
_DEFAULT_RECIPES = ("paper", "uniform", "rich")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `resemblance` and `worlds`; each sets run_command, a function of the arguments, which
    raises CrowdFMError with one message for errors of the user's."""
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

    worlds = commands.add_parser(
        "worlds",
        help="frozen weights in the worlds of the classical models",
        description="Measures frozen weights on crowds drawn from each classical model, beside "
        "majority voting and the method that is right for that model.",
    )
    worlds.add_argument(
        "--weights",
        nargs="+",
        default=["default"],
        metavar="W",
        help="folders of frozen weights (default: the shipped ones)",
    )
    worlds.add_argument("--worlds", nargs="+", metavar="NAME", help="by name (default: all)")
    worlds.add_argument("--options", nargs="+", type=int, metavar="K", help="of 2, 4, 8")
    worlds.add_argument("--answers", nargs="+", type=int, metavar="N", help="a task, of 5, 20")
    worlds.add_argument("--crowds", type=_positive, default=20, help="drawn in each world")
    worlds.add_argument("--seed", type=int, default=1, help="equal seeds give equal tables")
    worlds.add_argument("--num-draws", type=_positive, default=4, help="of option vectors")
    worlds.add_argument("--device", default="cpu", help="cpu or cuda:0")
    worlds.add_argument(
        "--json", type=Path, metavar="FILE", help="file for one JSON line per world and method"
    )
    worlds.set_defaults(run_command=_worlds)


def _resemblance(arguments: argparse.Namespace) -> None:
    from crowdfm_core.evaluation import read_datasets
    from crowdfm_core.pretraining.recipe import read_recipe
    from crowdfm_core.simulation_checks import resemblance
    from crowdfm_core.simulation_checks.resemblance_plot import plot_samples

    recipes = [read_recipe(_recipe_file(name)) for name in arguments.recipe]
    real = resemblance.sample_of_datasets(read_datasets(arguments.data)) if arguments.data else None
    synthetic = [
        resemblance.sample_of_recipe(recipe, name, crowds=arguments.crowds, seed=arguments.seed)
        for name, recipe in zip(_short_names(arguments.recipe), recipes, strict=True)
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


def _worlds(arguments: argparse.Namespace) -> None:
    from crowdfm_core.scoring import Scorer
    from crowdfm_core.simulation_checks import classical_worlds, world_results
    from crowdfm_core.weights import load_weights

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    models = {
        name: Scorer(load_weights(path), device=arguments.device, num_draws=arguments.num_draws)
        for name, path in zip(_short_names(arguments.weights), arguments.weights, strict=True)
    }
    cells = world_results.measure(
        models,
        worlds=_chosen("--worlds", arguments.worlds, classical_worlds.WORLDS),
        options=_chosen("--options", arguments.options, classical_worlds.OPTIONS),
        answers_per_task=_chosen("--answers", arguments.answers, classical_worlds.ANSWERS_PER_TASK),
        crowds=arguments.crowds,
        seed=arguments.seed,
    )
    sys.stdout.write(world_results.markdown(cells) + "\n")
    if arguments.json:
        _write_json_lines(arguments.json, world_results.json_records(cells))


def _short_names(paths: Sequence[str]) -> Sequence[str]:
    """Name weights and recipes by their last part, or wholly where two would be alike."""
    names = [Path(path).name.removesuffix(".yaml") for path in paths]
    return names if len(set(names)) == len(names) else paths


def _chosen(option: str, wanted: Sequence[_T] | None, known: Iterable[_T]) -> list[_T]:
    """What is asked for, in the order of what is known; all of it where nothing is asked for."""
    known = list(known)
    unknown = [one for one in wanted or () if one not in known]
    if unknown:
        listed = ", ".join(map(repr, known))
        raise ConfigError([f"expected {listed}, got {unknown[0]!r}"], where=option)
    return [one for one in known if wanted is None or one in wanted]


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
    try:
        path.write_text(lines, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
