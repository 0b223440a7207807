"""One local Spark for all tests of the steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from crowdfm_core.config import SparkConfig
from jobs.session import make_session


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Two threads, few partitions, a warehouse of its own."""
    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    conf = {"spark.sql.warehouse.dir": warehouse, "spark.sql.shuffle.partitions": "3"}
    session = make_session(SparkConfig(master="local[2]", app_name="crowdfm-tests", conf=conf))
    yield session
    session.stop()
