"""Likeness of synthetic crowds to real sets, as Appendix F of the CrowdFM paper measures it.

Letters: N crowds, R real sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.evaluation import LabelledDataset
from crowdfm_core.pretraining.recipe import Recipe
from crowdfm_core.simulation_checks.crowd_statistics import DIAGNOSTICS, STATISTICS, describe
from crowdfm_core.simulation_checks.distances import resampling_distance, scaled_distance
from crowdfm_core.simulation_checks.judged import JudgedCrowd

__all__ = [
    "REAL",
    "Sample",
    "distance_table",
    "json_records",
    "quantile_table",
    "sample_of_datasets",
    "sample_of_recipe",
]

FloatArray = npt.NDArray[np.float64]

REAL = "real sets"

_GROUPS = {"accuracy and load": STATISTICS, "diagnostics": tuple(DIAGNOSTICS)}
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Sample:
    """Every statistic of some crowds from one source."""

    source: str  # REAL, or the name of a recipe
    crowds: tuple[str, ...]  # N names
    values: dict[str, FloatArray]  # statistic -> [N], NaN where a crowd does not have it


def sample_of_datasets(datasets: Sequence[LabelledDataset]) -> Sample:
    """Describe R real data sets."""
    names = tuple(dataset.name for dataset in datasets)
    return _sample(REAL, names, (JudgedCrowd.from_dataset(dataset) for dataset in datasets))


def sample_of_recipe(recipe: Recipe, name: str, *, crowds: int, seed: int) -> Sample:
    """Draw and describe `crowds` crowds of a recipe's mixture, called `name` in tables; equal
    seeds give equal samples."""
    generator = recipe.generator()
    drawn = (
        JudgedCrowd.from_simulated(generator.sample(np.random.default_rng([seed, number])))
        for number in range(crowds)
    )
    return _sample(name, tuple(f"crowd {number}" for number in range(crowds)), drawn)


def _sample(source: str, names: tuple[str, ...], crowds: Iterable[JudgedCrowd]) -> Sample:
    found = [describe(crowd) for crowd in crowds]
    statistics = (*STATISTICS, *DIAGNOSTICS)
    values = {name: np.array([numbers[name] for numbers in found]) for name in statistics}
    return Sample(source, names, values)


def distance_table(real: Sample, synthetic: Sequence[Sample], *, seed: int) -> str:
    """Markdown: distance of each recipe by statistic, its mean below, diagnostics apart.

    The last column is what resampling the real sets gives.
    """
    head = ["statistic", *(sample.source for sample in synthetic), "resampled real sets"]
    parts = []
    for group, statistics in _GROUPS.items():
        table = np.array(
            [
                [
                    *(scaled_distance(real.values[name], s.values[name]) for s in synthetic),
                    resampling_distance(real.values[name], np.random.default_rng(seed)),
                ]
                for name in statistics
            ]
        )
        rows = [[name, *map(_plain, row)] for name, row in zip(statistics, table, strict=True)]
        # Over the statistics that all columns have, so that the means can be compared.
        complete = table[np.isfinite(table).all(axis=1)]
        if len(complete):
            mean = f"mean of {len(complete)}"
            rows.append([mean, *map(_plain, complete.mean(axis=0))])
        parts.append(
            f"### {group}: Wasserstein-1 distance to {len(real.crowds)} real sets, in "
            f"their standard deviations\n\n{_markdown(head, rows)}"
        )
    return "\n\n".join(parts)


def quantile_table(samples: Sequence[Sample]) -> str:
    """Markdown: the quantiles 0.1, 0.5 and 0.9 of every statistic in every sample."""
    head = ["statistic", *(f"{sample.source} ({len(sample.crowds)})" for sample in samples)]
    parts = []
    for group, statistics in _GROUPS.items():
        rows = [[name, *(_quantiles(s.values[name]) for s in samples)] for name in statistics]
        parts.append(f"### {group}: quantiles 0.1, 0.5, 0.9\n\n{_markdown(head, rows)}")
    return "\n\n".join(parts)


def json_records(samples: Sequence[Sample], real: Sample | None) -> list[dict[str, Any]]:
    """One record per source and statistic: source, group, statistic, distance to the real sets
    (null without them), and the value of each crowd (null where it has none)."""
    return [
        {
            "source": sample.source,
            "group": group,
            "statistic": name,
            "distance": _or_null(scaled_distance(real.values[name], sample.values[name]))
            if real is not None and sample is not real
            else None,
            "crowds": list(sample.crowds),
            "values": [_or_null(value) for value in sample.values[name].tolist()],
        }
        for sample in samples
        for group, statistics in _GROUPS.items()
        for name in statistics
    ]


def _quantiles(values: FloatArray) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "none"
    return " / ".join(_plain(value) for value in np.quantile(finite, _QUANTILES))


def _plain(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "none"


def _or_null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
