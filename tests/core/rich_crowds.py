"""Rich crowds with chosen mechanisms, and statistics of crowds, for the simulator's tests."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from crowdfm_core.simulation import Acceptance, RichCrowds, RichDraw, Shape, SimulatedCrowd
from crowdfm_core.simulation.pieces import Piece
from crowdfm_core.simulation.spammers import WorkerKind

ONCE = Acceptance(attempts=1)
PIECES = [f.name for f in fields(RichCrowds) if isinstance(getattr(RichCrowds(), f.name), Piece)]

SPAMMERS = {
    "random_spammers": WorkerKind.RANDOM,
    "constant_spammers": WorkerKind.CONSTANT,
    "biased_spammers": WorkerKind.BIASED,
    "copying_workers": WorkerKind.COPYING,
    "adversaries": WorkerKind.ADVERSARIAL,
}


def size(tasks: int, workers: int, options: int, answers: int) -> Shape:
    return Shape.exact(tasks=tasks, workers=workers, options=options, answers_per_task=answers)


def only(shape: Shape, **settings: Any) -> RichCrowds:
    """Crowds with the named mechanisms always on, with these settings, and all others off."""
    plain = RichCrowds(shape=shape, strength=(0.4, 0.4), acceptance=ONCE)
    pieces = {
        name: replace(getattr(plain, name), probability=float(name in settings)) for name in PIECES
    }
    others = {name: value for name, value in settings.items() if name not in PIECES}
    for name in set(settings) - set(others):
        pieces[name] = replace(pieces[name], **settings[name])
    return replace(plain, **pieces, **others)


def draw(generator: RichCrowds, seed: int = 1) -> RichDraw:
    return generator.draw(np.random.default_rng(seed))


def confusion(crowd: SimulatedCrowd, rows: Any = slice(None)) -> np.ndarray:
    """Counts of (truth, answer) over some annotations, [K, K]."""
    options = crowd.num_options
    key = crowd.true_option[crowd.task_index] * options + crowd.option_index
    return np.bincount(key[rows], minlength=options**2).reshape(options, options)


def right(crowd: SimulatedCrowd) -> np.ndarray:
    return np.asarray(crowd.option_index == crowd.true_option[crowd.task_index])


def assert_counts_follow(counts: np.ndarray, expected: np.ndarray) -> None:
    """Chi-squared of rows of counts against rows of probabilities, within five deviations."""
    mean = counts.sum(axis=1, keepdims=True) * expected
    assert (counts[expected == 0] == 0).all()
    used = mean > 5
    chi2 = ((counts - mean)[used] ** 2 / mean[used]).sum()
    degrees = used.sum() - (counts.sum(axis=1) > 0).sum()
    assert chi2 < degrees + 5 * np.sqrt(2 * degrees), f"chi2 {chi2:.0f} for {degrees} degrees"
