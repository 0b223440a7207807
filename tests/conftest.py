"""Options and fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reference-dir", help="folder of published arrays (golden_*.npz)")
    parser.addoption("--data-dir", help="folder of real data sets (NAME/label.csv, truth.csv)")


def _given_folder(config: pytest.Config, option: str) -> Path:
    folder = config.getoption(option)
    if folder is None or not Path(folder).is_dir():
        pytest.skip(f"needs {option} FOLDER; got {folder}")
    return Path(folder)


@pytest.fixture(scope="session")
def reference_dir(pytestconfig: pytest.Config) -> Path:
    """The published arrays, or a skip with the reason."""
    return _given_folder(pytestconfig, "--reference-dir")


@pytest.fixture(scope="session")
def data_dir(pytestconfig: pytest.Config) -> Path:
    """Real data sets, or a skip with the reason."""
    return _given_folder(pytestconfig, "--data-dir")
