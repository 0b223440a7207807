"""Classical methods on real sets beside the published table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crowdfm_core.evaluation import classical, find_datasets, measure, read_dataset
from crowdfm_core.evaluation.published import read_published_table
from crowdfm_core.methods.registry import METHODS

PUBLISHED = ("MV", "DS", "GLAD", "IBCC", "EBCC", "BWA", "CATD", "PM")


@pytest.mark.parametrize("row", PUBLISHED)
def test_mean_accuracy_is_within_half_a_point_of_the_paper(
    row: str, data_dir: Path, reference_dir: Path
) -> None:
    published = read_published_table(reference_dir / "paper_table3_accuracy.csv")
    name = next(method.name for method in METHODS.values() if method.short_name == row)
    datasets = [read_dataset(folder) for folder in find_datasets(data_dir)]
    known = [d for d in datasets if published.accuracy(row, d.name) is not None]
    mean = 100 * np.mean([measure(d, classical(name), num_seeds=3).accuracy for d in known])
    expected = published.mean(row, [d.name for d in known])
    assert expected is not None
    assert mean > expected - 0.5
