"""The results of ablations as Markdown, as JSON lines and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crowdfm_core.errors import InputError
from crowdfm_core.pretraining.ablation import RunResult
from crowdfm_core.pretraining.ablation_plan import BASE

__all__ = ["json_records", "markdown_report", "plot_ablation", "write_report"]

_GAP = "-"
_SHOWN_POINTS = 10.0  # below the base, in the picture


@dataclass(frozen=True)
class _Spread:
    """Mean over the seeds of a variant, smallest and largest, in per cent."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Show the ends where they differ."""
        ends = f" ({self.low:.2f} to {self.high:.2f})" if self.high > self.low else ""
        return f"{self.mean:.2f}{ends}"


def write_report(results: Sequence[RunResult], out: Path, *, json_file: Path | None) -> None:
    """Write report.md and report.png to `out`, and the records to `json_file` (report.jsonl in
    `out` by default)."""
    (out / "report.md").write_text(markdown_report(results), encoding="utf-8")
    lines = "".join(json.dumps(record) + "\n" for record in json_records(results))
    (json_file or out / "report.jsonl").write_text(lines, encoding="utf-8")
    plot_ablation(results, out / "report.png")


def json_records(results: Sequence[RunResult]) -> Iterator[dict[str, Any]]:
    """One record per variant and seed, with the fields of RunResult; accuracies in per cent.

    real_accuracy is the mean over the sets that all runs could be measured on, null without any.
    """
    sets = _common_sets(results)
    for result in results:
        record = {
            name: _percent(value) if "accuracy" in name else value
            for name, value in asdict(result).items()
        }
        real = _real_mean(result, sets)
        yield record | {"real_accuracy": None if real is None else 100 * real}


def markdown_report(results: Sequence[RunResult]) -> str:
    """Tables of all variants: accuracies beside the base's, and by mechanism."""
    sets = _common_sets(results)
    variants = _by_variant(results)
    parts = ["## Ablations\n\n" + _summary_table(variants, sets), _explanation(results, sets)]
    parts.append("## Accuracy by mechanism, per cent\n\n" + _mechanism_table(variants))
    problems = sorted({problem for result in results for problem in result.real_problems})
    if problems:
        parts.append("## Not measured\n\n" + "\n".join(f"- {problem}" for problem in problems))
    return "\n\n".join(parts) + "\n"


def plot_ablation(results: Sequence[RunResult], picture: Path) -> None:
    """Draw a bar per variant with the spread of its seeds; a broken line marks the base.

    Raises InputError when matplotlib is missing or the picture cannot be written.
    """
    try:
        import matplotlib  # a second to import, and only needed here
    except ImportError as error:
        problem = "plotting needs matplotlib; install the project with its extra: .[torch]"
        raise InputError(problem) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    sets = _common_sets(results)
    panels: list[tuple[str, Callable[[RunResult], float]]] = [
        ("synthetic crowds", lambda result: result.synthetic_accuracy)
    ]
    if sets:
        panels.append((f"{len(sets)} real sets", lambda result: _real_mean(result, sets) or 0.0))
    variants = _by_variant(results)
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=(1.5 + 5.5 * len(panels), 1.8 + 0.32 * len(variants)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, accuracy) in zip(axes[0], panels, strict=True):
        _draw(axis, variants, accuracy)
        axis.set_xlabel(f"mean accuracy, {title}, per cent")
    axes[0, 0].invert_yaxis()  # shared by all panels
    try:
        figure.savefig(picture)
    except (OSError, ValueError) as error:
        raise InputError(f"{picture}: the picture cannot be written ({error})") from error
    finally:
        pyplot.close(figure)


def _draw(
    axis: Any, variants: dict[str, list[RunResult]], accuracy: Callable[[RunResult], float]
) -> None:
    spreads = [_spread([accuracy(result) for result in runs]) for runs in variants.values()]
    places = np.arange(len(spreads))
    groups = list(dict.fromkeys(runs[0].group for runs in variants.values()))
    colours, names = [], []
    for name, runs in variants.items():
        group = runs[0].group
        colours.append("black" if name == BASE else f"C{groups.index(group) % 10}")
        names.append(BASE if name == BASE else f"{group}: {name}")
    means = np.array([spread.mean for spread in spreads])
    ends = np.array([[s.mean - s.low for s in spreads], [s.high - s.mean for s in spreads]])
    axis.barh(places, means, xerr=ends, color=colours, alpha=0.75, capsize=2)
    reference = means[list(variants).index(BASE)] if BASE in variants else means.max()
    axis.axvline(reference, color="black", linestyle="--", linewidth=1)
    # Small differences are to be seen: a bar that is far behind is cut, and its number says so.
    left = max(means.min() - 1.0, reference - _SHOWN_POINTS)
    right = max(spread.high for spread in spreads) + 0.15 * (means.max() - left) + 0.3
    axis.set_xlim(left, right)
    for place, spread in zip(places, spreads, strict=True):
        axis.text(max(spread.high, left), place, f" {spread.mean:.1f}", va="center", fontsize=8)
    axis.set_yticks(places, names)
    axis.grid(axis="x", alpha=0.3)


def _summary_table(variants: dict[str, list[RunResult]], sets: list[str]) -> str:
    base = variants.get(BASE, [])
    rows = []
    for name, runs in variants.items():
        first = runs[0]
        cells = _cells(runs, base, lambda result: result.synthetic_accuracy)
        if sets:
            cells += _cells(runs, base, lambda result: _real_mean(result, sets) or 0.0)
        rows.append(
            [
                first.group,
                name,
                first.changes,
                f"{first.num_parameters:,}",
                f"{np.mean([result.steps for result in runs]):.0f}",
                f"{np.mean([result.training_seconds for result in runs]):.0f}",
                *cells,
            ]
        )
    titles = ["group", "variant", "changes", "parameters", "steps", "seconds"]
    titles += ["synthetic", "against base"] + (["real", "against base"] if sets else [])
    return _table(titles, rows, num_words=3)


def _explanation(results: Sequence[RunResult], sets: list[str]) -> str:
    first = results[0]
    voted = 100 * first.synthetic_majority_vote_accuracy
    text = (
        "Accuracies in per cent, mean (smallest to largest) over seeds "
        f"{', '.join(map(str, sorted({result.seed for result in results})))}; differences in "
        "points. Synthetic: the same fresh crowds of the base recipe's mechanisms for all "
        f"variants, mean by their shares; majority voting has {voted:.2f}."
    )
    if sets:
        voted = 100 * float(np.mean([first.real_majority_vote_accuracy_of_set[s] for s in sets]))
        text += f" Real: mean over {len(sets)} sets; majority voting has {voted:.2f}."
    return text


def _mechanism_table(variants: dict[str, list[RunResult]]) -> str:
    names = list(next(iter(variants.values()))[0].synthetic_accuracy_of_mechanism)
    rows = [
        [name]
        + [
            f"{_spread([r.synthetic_accuracy_of_mechanism[m] for r in runs]).mean:.2f}"
            for m in names
        ]
        for name, runs in variants.items()
    ]
    return _table(["variant", *names], rows, num_words=1)


def _by_variant(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    variants: dict[str, list[RunResult]] = {}
    for result in results:
        variants.setdefault(result.variant, []).append(result)
    return variants


def _common_sets(results: Sequence[RunResult]) -> list[str]:
    """Real sets that all runs were measured on."""
    kept = set.intersection(*(set(result.real_accuracy_of_set) for result in results))
    return sorted(kept)


def _real_mean(result: RunResult, sets: list[str]) -> float | None:
    return float(np.mean([result.real_accuracy_of_set[s] for s in sets])) if sets else None


def _spread(accuracies: Sequence[float]) -> _Spread:
    percent = 100 * np.asarray(accuracies)
    return _Spread(float(percent.mean()), float(percent.min()), float(percent.max()))


def _cells(
    runs: list[RunResult], base: list[RunResult], accuracy: Callable[[RunResult], float]
) -> list[str]:
    """The accuracy, and its difference to the base's, seed by seed."""
    base_of_seed = {result.seed: accuracy(result) for result in base}
    gains = [
        accuracy(result) - base_of_seed[result.seed]
        for result in runs
        if result.seed in base_of_seed
    ]
    found = str(_spread([accuracy(result) for result in runs]))
    if not gains or runs[0].variant == BASE:
        return [found, _GAP]
    gain = _spread(gains)
    ends = f" ({gain.low:+.2f} to {gain.high:+.2f})" if len(gains) > 1 else ""
    return [found, f"{gain.mean:+.2f}{ends}"]


def _percent(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: 100 * part for name, part in value.items()}
    return 100 * value


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, num_words: int) -> str:
    """A Markdown table whose columns after the first `num_words` are numbers."""
    ruler = "|" + "---|" * num_words + "--:|" * (len(titles) - num_words)
    lines = [_line(titles), ruler, *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
