"""Draws a run's log: loss and accuracy over steps."""

from __future__ import annotations

from pathlib import Path

from crowdfm_core.errors import InputError
from crowdfm_core.pretraining.run_files import read_log

__all__ = ["plot_log"]


def plot_log(log: Path, picture: Path) -> None:
    """Write a picture (its ending decides the format) of a log.

    Raises InputError when the log is missing or empty, or matplotlib is not installed.
    """
    records = read_log(log)
    if not records:
        raise InputError(f"{log}: expected a log with at least one line, got none")
    try:
        import matplotlib  # a second to import, and only needed here
    except ImportError as error:
        raise InputError("plotting needs matplotlib; install it with pip") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (loss_axis, accuracy_axis) = pyplot.subplots(
        2, 1, sharex=True, figsize=(8, 7), layout="constrained"
    )
    for name, label in (("loss", "training"), ("validation_loss", "validation")):
        points = [(r["step"], r[name]) for r in records if name in r]
        if points:
            loss_axis.plot(*zip(*points, strict=True), label=label)
    loss_axis.set_ylabel("loss (nats)")
    loss_axis.legend()
    for name, label in (
        ("validation_accuracy", "averaged weights"),
        ("validation_majority_vote_accuracy", "majority voting"),
        ("real_accuracy", "averaged weights, real sets"),
        ("real_majority_vote_accuracy", "majority voting, real sets"),
    ):
        points = [(r["step"], r[name]) for r in records if name in r]
        if points:
            accuracy_axis.plot(*zip(*points, strict=True), label=label)
    accuracy_axis.set_ylabel("accuracy")
    accuracy_axis.set_xlabel("step")
    accuracy_axis.legend()
    figure.savefig(picture)
    pyplot.close(figure)
