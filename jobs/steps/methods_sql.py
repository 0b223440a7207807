"""Classical methods as Spark SQL over all projects at once, by name, in the tables' columns.

Arrays are the default engine: one million annotations of 20 projects took, in seconds of one core,
10 for Dawid and Skene's model until it converged (after 22 to arrange the annotations, once for all
methods), against 21 to encode them and then 12 an iteration in SQL; 4 against 19 for wawa.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.sql import run_sql
from jobs.steps.crowdfm import Aggregated
from jobs.steps.methods_em import dawid_skene, one_coin_dawid_skene
from jobs.steps.methods_encoded import UNIT, EncodedAnswers
from jobs.steps.methods_votes import (
    TIE,
    Say,
    SqlResult,
    iwmv,
    naive_soft,
    pm,
    twothird,
    wawa,
    zero_based_skill,
)

__all__ = ["SQL_METHODS", "aggregate_in_sql"]

SQL_METHODS: dict[str, Callable[[EncodedAnswers, Say], SqlResult]] = {
    "dawid_skene": dawid_skene,
    "iwmv": iwmv,
    "naive_soft": naive_soft,
    "one_coin_dawid_skene": one_coin_dawid_skene,
    "pm": pm,
    "twothird": twothird,
    "wawa": wawa,
    "zero_based_skill": zero_based_skill,
}


def aggregate_in_sql(
    method: str, encoded: EncodedAnswers, *, max_probabilities: int, say: Say
) -> Aggregated:
    """Run a method of SQL_METHODS; `say` takes a line per iteration."""
    result = SQL_METHODS[method](encoded, say)
    results = run_sql("method_results", {"tie": TIE}, shares=result.shares).persist()
    labels = run_sql(
        "method_labels",
        {"tie": TIE, "method": method, "max_probabilities": max_probabilities},
        results=results,
        tasks=encoded.tasks,
        options=encoded.options,
    )
    workers = run_sql(
        "method_workers",
        {"unit": UNIT, "method": method},
        answers=encoded.answers,
        results=results,
        scores=result.scores,
        workers=encoded.workers,
    )
    return Aggregated(labels, workers, (results,), _fits(method, encoded, result.fits))


def _fits(method: str, encoded: EncodedAnswers, fits: DataFrame) -> DataFrame:
    return encoded.projects.join(fits, "project_key").select(
        "project_id",
        F.lit(method).alias("method"),
        F.lit(None).cast("string").alias("problem"),
        "iterations",
        "converged",
    )
