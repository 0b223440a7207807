"""Small multiples: the distribution of every statistic, real beside synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowdfm_core.errors import InputError
from crowdfm_core.simulation_checks.crowd_statistics import DIAGNOSTICS, STATISTICS
from crowdfm_core.simulation_checks.resemblance import REAL, Sample

__all__ = ["plot_samples"]

_COLUMNS = 4
_SHOWN = (1.0, 99.0)  # per cent of all values; the rest is piled up at the ends


def plot_samples(samples: Sequence[Sample], picture: Path) -> None:
    """Write a picture (its ending decides the format): per statistic a distribution function of
    each sample, and a tick for each real set.

    Raises InputError without matplotlib, and where the picture cannot be written.
    """
    try:
        import matplotlib  # a second to import, and only needed here
    except ImportError as error:
        raise InputError("plotting needs matplotlib; install it with pip") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    statistics = (*STATISTICS, *DIAGNOSTICS)
    rows = -(-len(statistics) // _COLUMNS)
    figure, axes = pyplot.subplots(
        rows, _COLUMNS, figsize=(4 * _COLUMNS, 2.4 * rows), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes.flat, statistics, strict=False):
        finite = [s.values[name][np.isfinite(s.values[name])] for s in samples]
        known = np.concatenate(finite)
        if not len(known):
            axis.set_axis_off()
            continue
        low, high = np.percentile(known, _SHOWN)
        for sample, values in zip(samples, finite, strict=True):
            if not len(values):
                continue
            real = sample.source == REAL
            shown = np.clip(values, low, high)
            axis.ecdf(shown, label=sample.source, color="black" if real else None)
            if real:
                axis.plot(shown, np.zeros(len(shown)), "|", color="black", markersize=10)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(statistics) :]:
        axis.set_axis_off()
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    try:
        figure.savefig(picture)
    except (OSError, ValueError) as error:  # the latter for an ending that it does not know
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{picture} cannot be written: {reason}") from error
    finally:
        pyplot.close(figure)
