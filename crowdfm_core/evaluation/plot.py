"""A picture of an evaluation: mean accuracies, gains per data set, and calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from crowdfm_core.errors import InputError
from crowdfm_core.evaluation.published import PublishedTable
from crowdfm_core.evaluation.run import Evaluation
from crowdfm_core.evaluation.summary import BASELINE, common_datasets, summarise

__all__ = ["plot_evaluation"]


def plot_evaluation(
    evaluation: Evaluation, picture: Path, published: PublishedTable | None = None
) -> None:
    """Write three panels to `picture`, whose ending decides the format.

    Raises InputError when no data set was measured by every method, or matplotlib is missing.
    """
    if not summarise(evaluation):
        raise InputError(f"{picture}: no data set was measured by every method, nothing to draw")
    try:
        import matplotlib  # a second to import, and only needed here
    except ImportError as error:
        raise InputError(
            "plotting needs matplotlib; install the project with its extra: .[evaluation]"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    height = 2.0 + 0.35 * len(evaluation.contenders)
    figure, axes = pyplot.subplots(1, 3, figsize=(17, max(5.0, height)), layout="constrained")
    _draw_means(axes[0], evaluation, published)
    _draw_gains(axes[1], evaluation)
    _draw_calibration(axes[2], evaluation)
    try:
        figure.savefig(picture)
    except (OSError, ValueError) as error:
        raise InputError(f"{picture}: the picture cannot be written ({error})") from error
    finally:
        pyplot.close(figure)


def _draw_means(axis: Any, evaluation: Evaluation, published: PublishedTable | None) -> None:
    names = common_datasets(evaluation)
    summaries = sorted(summarise(evaluation), key=lambda summary: summary.accuracy)
    contenders = {contender.name: contender for contender in evaluation.contenders}
    places = np.arange(len(summaries))
    axis.plot([100 * s.accuracy for s in summaries], places, "o", label="measured here")
    if published:
        rows = [published.row_of(contenders[s.method]) for s in summaries]
        means = [published.mean(row, names) if row else None for row in rows]
        axis.plot(
            [np.nan if mean is None else mean for mean in means],
            places,
            "x",
            color="black",
            label="published",
        )
    axis.set_yticks(places, [s.method for s in summaries])
    axis.set_xlabel(f"mean accuracy over {len(names)} data sets, per cent")
    axis.grid(alpha=0.3)
    axis.legend()


def _draw_gains(axis: Any, evaluation: Evaluation) -> None:
    names = common_datasets(evaluation)
    baseline = evaluation.of_method(BASELINE)
    others = [s.method for s in summarise(evaluation) if s.method != BASELINE]
    gains = np.array(
        [
            [100 * (evaluation.of_method(m)[n].accuracy - baseline[n].accuracy) for n in names]
            for m in others
        ]
    ).reshape(len(others), len(names))
    limit = max(1.0, float(np.abs(gains).max(initial=0.0)))
    axis.imshow(gains, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), gain in np.ndenumerate(gains):
        ink = "white" if abs(gain) > 0.6 * limit else "black"
        axis.text(column, row, f"{gain:+.1f}", ha="center", va="center", fontsize=7, color=ink)
    axis.set_xticks(np.arange(len(names)), names, rotation=60, ha="right")
    axis.set_yticks(np.arange(len(others)), others)
    axis.set_title("points ahead of majority voting")


def _draw_calibration(axis: Any, evaluation: Evaluation) -> None:
    """Accuracy over mean probability per bin; every data set has the same weight."""
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    names = common_datasets(evaluation)
    for summary in summarise(evaluation):
        rows = [evaluation.of_method(summary.method)[name].reliability for name in names]
        count, credit, probability = (
            np.sum([getattr(row, part) / row.count.sum() for row in rows], axis=0)
            for part in ("count", "credit", "probability")
        )
        used = count > 0
        axis.plot(
            probability[used] / count[used],
            credit[used] / count[used],
            ".-",
            linewidth=0.8,
            label=f"{summary.method} ({summary.calibration_error:.3f})",
        )
    axis.set_xlabel("probability of the label")
    axis.set_ylabel("accuracy")
    axis.set_title("calibration (expected error)")
    axis.legend(fontsize=7)
