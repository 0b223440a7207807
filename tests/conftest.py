"""Options and fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pyspark.sql import SparkSession

from crowdfm_core.config import SparkConfig
from jobs.session import make_session
from tests.jvm_options import LASTING

_LONG = ("cluster", "spark")  # folders

# A first example may wait for compiled code, and for the process beside it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reference-dir", help="folder of published arrays (golden_*.npz)")
    parser.addoption("--data-dir", help="folder of real data sets (NAME/label.csv, truth.csv)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take minutes first, so that processes beside each other end together."""
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


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


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One local Spark for all tests: two threads, few partitions, a warehouse of its own."""
    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    conf = {
        "spark.sql.warehouse.dir": warehouse,
        "spark.sql.shuffle.partitions": "3",
        "spark.driver.memory": "3g",  # one driver plans the queries of all tests
        "spark.driver.extraJavaOptions": LASTING,
    }
    session = make_session(SparkConfig(master="local[2]", app_name="crowdfm-tests", conf=conf))
    yield session
    session.stop()
