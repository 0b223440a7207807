"""What the heads of frozen weights are worth, as Markdown and as scatter plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from crowdfm_core.errors import InputError
from crowdfm_core.pretraining.calibration_head import CalibrationFigures
from crowdfm_core.pretraining.head_figures import (
    Figures,
    PairFigures,
    by_count,
    by_mechanism,
    figures_of,
    pair_figures,
)
from crowdfm_core.pretraining.heads import HeadEstimates, PairEstimates
from crowdfm_core.pretraining.real_abilities import AbilityRow, mean_row
from crowdfm_core.pretraining.real_compatibility import CompatibilityRow, mean_compatibility

__all__ = [
    "calibration_table",
    "plot_heads",
    "real_compatibility_table",
    "real_table",
    "synthetic_report",
]

_HEADER = (
    "| | rows | crowds | Pearson | Spearman | MSE | variance | Pearson within | Spearman within "
    "| informed Pearson | informed Spearman |\n|---|" + "---:|" * 10 + "\n"
)
_POINTS = 4000  # of a scatter plot


def synthetic_report(
    population: str,
    estimates: Mapping[str, HeadEstimates],
    pairs: PairEstimates | None,
    mechanisms: list[str],
) -> str:
    """Tables of every head on fresh crowds of one population (a recipe's name)."""
    lines = [f"## Fresh synthetic crowds: {population}\n\n"]
    lines.append(
        "At most 200 workers and tasks of each crowd. MSE is the mean squared error, to be held "
        "against the variance of the truth; within: mean over crowds; informed: a network that sees"
        " counts of right answers by the true labels instead of the encoder, a yardstick and no "
        "bound.\n\n"
    )
    for name, each in estimates.items():
        lines.append(f"### {name}\n\n{_HEADER}{_row('all', figures_of(each))}")
        for count, figures in by_count(each).items():
            lines.append(_row(f"{count} annotations", figures))
        if len(mechanisms) > 1:
            for mechanism, figures in by_mechanism(each, mechanisms).items():
                lines.append(_row(mechanism, figures))
        lines.append("\n")
    if pairs is not None:
        lines.append(_pair_table(pair_figures(pairs)))
    return "".join(lines)


def calibration_table(figures: Mapping[str, CalibrationFigures]) -> str:
    """One line per population of `measure_calibration`."""
    lines = [
        "### calibration\n\nMeans over crowds, before and after the factor: log loss in nats and "
        "expected calibration error.\n\n"
        "| crowds | number | log loss before | after | calibration error before | after |\n"
        f"|---|{'---:|' * 5}\n"
    ]
    for population, each in figures.items():
        cells = [
            each.raw_log_loss,
            each.log_loss,
            each.raw_calibration_error,
            each.calibration_error,
        ]
        name = population.replace("_", " ")
        lines.append(f"| {name} | {each.crowds} | {' | '.join(map(_cell, cells))} |\n")
    return "".join([*lines, "\n"])


def real_table(rows: list[AbilityRow], *, least_gold: int) -> str:
    """One line per real set: Spearman with the workers' accuracy on known truth."""
    lines = [
        "## Real sets\n\nSpearman with the worker's accuracy on known truth, over workers with at "
        f"least {least_gold} annotations of gold tasks.\n\n"
        "| set | workers | ability | expected accuracy | agreement with majority "
        "| Dawid-Skene's confusion trace |\n|---|" + "---:|" * 5 + "\n"
    ]
    for row in [*rows, mean_row(rows)]:
        cells = [row.ability, row.expected_accuracy, row.majority_agreement, row.confusion_trace]
        lines.append(f"| {row.dataset} | {row.workers} | {' | '.join(map(_cell, cells))} |\n")
    return "".join(lines)


def real_compatibility_table(rows: list[CompatibilityRow]) -> str:
    """One line per real set: areas under the curve over annotations that were held out."""
    lines = [
        "## Compatibility on real sets\n\nArea under the curve of right against wrong, over a "
        "fifth of the annotations that the encoder has not seen; beside it, of the worker's "
        "agreement with the majority alone and of the majority's share alone. Order: of two of "
        "these answers to one task, one right and one wrong, how often the right one's worker is "
        "ranked higher, and how often by agreement with the majority.\n\n"
        "| set | pairs | share right | compatibility | agreement with majority | share of majority "
        "| order | order by agreement | calibration error |\n|---|" + "---:|" * 8 + "\n"
    ]
    for row in [*rows, mean_compatibility(rows)]:
        cells = [row.share_right, row.auc, row.worker_auc, row.task_auc]
        cells += [row.order, row.worker_order, row.calibration_error]
        lines.append(f"| {row.dataset} | {row.pairs} | {' | '.join(map(_cell, cells))} |\n")
    return "".join(lines)


def plot_heads(populations: Mapping[str, Mapping[str, HeadEstimates]], picture: Path) -> None:
    """Scatter plots of estimate against truth, a row of panels per population.

    Raises InputError where the picture cannot be written.
    """
    from matplotlib.figure import Figure  # only the plot needs it

    names = sorted({name for estimates in populations.values() for name in estimates})
    figure = Figure(figsize=(5 * len(names), 4.5 * len(populations)), layout="constrained")
    panels = figure.subplots(len(populations), len(names), squeeze=False)
    for line, (population, estimates) in zip(panels, populations.items(), strict=True):
        for panel, name in zip(line, names, strict=True):
            if name in estimates:
                _scatter(panel, population, name, estimates[name])
            else:
                panel.set_axis_off()
    try:
        figure.savefig(picture)
    except (OSError, ValueError) as error:
        raise InputError(f"{picture} cannot be written: {error}") from error


def _scatter(panel: object, population: str, name: str, estimates: HeadEstimates) -> None:
    from matplotlib.axes import Axes

    assert isinstance(panel, Axes)
    some = np.random.default_rng(1).permutation(len(estimates.estimate))[:_POINTS]
    count = np.log10(estimates.rows.num_annotations[some])
    points = panel.scatter(
        estimates.rows.truth[some], estimates.estimate[some], c=count, s=4, alpha=0.5, vmax=2.0
    )
    low, high = np.quantile(estimates.rows.truth, [0.001, 0.999])
    panel.plot([low, high], [low, high], color="grey", linewidth=1)
    panel.set_xlim(low, high)
    panel.set_ylim(low, high)
    figures = figures_of(estimates)
    panel.set_title(
        f"{name}, {population}: Pearson {figures.pearson:.2f}, Spearman {figures.spearman:.2f}"
    )
    panel.set_xlabel(f"{name} in the simulator")
    panel.set_ylabel("read from the frozen encoder")
    panel.figure.colorbar(points, ax=panel, label="log10 of annotations")


def _row(name: str, figures: Figures) -> str:
    cells = [
        figures.pearson,
        figures.spearman,
        figures.mean_squared_error,
        figures.variance,
        figures.pearson_within,
        figures.spearman_within,
        figures.informed_pearson,
        figures.informed_spearman,
    ]
    numbers = " | ".join(map(_cell, cells))
    return f"| {name} | {figures.rows} | {figures.crowds} | {numbers} |\n"


def _pair_table(figures: PairFigures) -> str:
    cells = [
        figures.auc,
        figures.auc_within,
        figures.worker_auc_within,
        figures.task_auc_within,
        figures.calibration_error,
        figures.mean_probability,
        figures.share_right,
    ]
    return (
        "### compatibility\n\nArea under the curve of right against wrong answers that the "
        "encoder has not seen, as many right as wrong of each crowd; calibration error of the "
        "probability, its mean and the share of right answers over all of them.\n\n"
        "| pairs | crowds | all | within crowds | within, worker's term | within, task's term "
        "| calibration error | mean probability | share right |\n"
        f"|{'---:|' * 9}\n| {figures.pairs} | {figures.crowds} | {' | '.join(map(_cell, cells))} |"
        "\n\n"
    )


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
