"""`crowdfm sql QUERY`: looks into Delta tables on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from crowdfm_core.config import SparkConfig
from crowdfm_core.errors import InputError
from jobs.session import make_session
from jobs.spark_errors import SPARK_ERRORS, reason_of

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one query and print its rows.

    Raises InputError when Spark refuses the query or cannot run it.
    """
    parser = argparse.ArgumentParser(
        prog="crowdfm sql",
        description="Runs one query in Spark SQL with Delta, in local mode, and prints its rows. "
        "A table is named as delta.`/path/of/the/table`, with VERSION AS OF number behind it for "
        "the version that a row of `runs` names.",
    )
    parser.add_argument("query", help="such as 'SELECT * FROM delta.`/lake/out/runs`'")
    parser.add_argument("--rows", type=int, default=50, help="rows that are printed at most")
    chosen = parser.parse_args(arguments)
    spark = make_session(SparkConfig(master="local[*]", app_name="crowdfm-sql"))
    try:
        spark.sql(chosen.query).show(chosen.rows, truncate=False)
    except SPARK_ERRORS as error:
        raise InputError(f"the query failed: {reason_of(error)}") from error
    sys.stdout.flush()
    return 0
