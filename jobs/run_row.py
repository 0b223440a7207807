"""The row of a run in the table `runs`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession

from crowdfm_core.config import JobConfig
from jobs.schemas import TABLES
from jobs.summary import RunSummary

__all__ = ["run_row"]


def run_row(
    spark: SparkSession,
    summary: RunSummary,
    config: JobConfig,
    *,
    started_at: datetime,
    weights_sha256: str,
    code_sha256: str,
    input_table_id: str | None,
    error: str | None,
) -> DataFrame:
    """Return one row with the columns of `runs`: SUCCEEDED, or FAILED if there is an error."""
    values = {
        "run_id": summary.run_id,
        "status": "SUCCEEDED" if error is None else "FAILED",
        "started_at": started_at,
        "finished_at": datetime.now(UTC),
        "phase_seconds": summary.phase_seconds,
        "input_table": summary.input,
        "input_table_id": input_table_id,
        "input_version": summary.input_version,
        "output_versions": summary.versions,
        "counts": summary.counts(),
        "config_sha256": config.sha256(),
        "config": json.dumps(config.to_mapping(), sort_keys=True),
        "weights_sha256": weights_sha256,
        "code_sha256": code_sha256,
        "kept_run_id": summary.kept_run_id,
        "error": error,
    }
    spec = TABLES["runs"]
    return spark.createDataFrame([[values[name] for name in spec.column_names]], spec.schema)
