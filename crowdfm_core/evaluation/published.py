"""A published table of accuracies, to stand beside ours: one row per method, one column per set."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crowdfm_core.errors import InputError
from crowdfm_core.evaluation.contenders import Contender

__all__ = ["PublishedTable", "read_published_table"]


@dataclass(frozen=True)
class PublishedTable:
    """Accuracies in per cent by the published name of the method, then by data set."""

    accuracies: dict[str, dict[str, float]]

    def row_of(self, contender: Contender) -> str | None:
        """The published name of a contender, or None."""
        names = {name.lower(): name for name in self.accuracies}
        return next((names[name] for name in contender.published_names if name in names), None)

    def accuracy(self, row: str, dataset: str) -> float | None:
        """Published accuracy in per cent of a row on a data set; case does not matter."""
        by_name = {name.lower(): value for name, value in self.accuracies[row].items()}
        return by_name.get(dataset.lower())

    def mean(self, row: str, datasets: Iterable[str]) -> float | None:
        """Mean over the data sets; None unless the row has them all."""
        values = [self.accuracy(row, dataset) for dataset in datasets]
        present = [value for value in values if value is not None]
        if not values or len(present) < len(values):
            return None
        return sum(present) / len(present)


def read_published_table(path: Path) -> PublishedTable:
    """Read a CSV file: a column `method`, one column per data set, per cent; blanks are gaps.

    Raises InputError for a file that cannot be read or has another form.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: a published table cannot be read from it ({error})") from error
    if not rows or "method" not in rows[0]:
        raise InputError(f"{path}: expected a column method and one per data set, got {rows[:1]}")
    return PublishedTable({row["method"]: _accuracies(path, row) for row in rows})


def _accuracies(path: Path, row: dict[str, str]) -> dict[str, float]:
    accuracies = {}
    for dataset, text in row.items():
        if dataset == "method":
            continue
        try:
            value = float(text or "nan")
        except (TypeError, ValueError) as error:
            where = f"{path}: {row['method']}, {dataset}"
            raise InputError(f"{where}: expected a number in per cent, got {text!r}") from error
        if not math.isnan(value):
            accuracies[dataset] = value
    return accuracies
