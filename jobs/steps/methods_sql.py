"""Classical methods as Spark SQL over all projects at once, by name, in the tables' columns.

Arrays are the default engine: ten iterations of Dawid and Skene's model over 10 million annotations
in 2,000 projects took 173 seconds of one core as arrays, most of them to arrange the annotations
once for all methods, and 3,441 in SQL (`dawid_skene_lake` in tests/bench/baseline.jsonl).
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.errors import UndefinedMethodError
from jobs.sql import run_sql
from jobs.steps.crowdfm import Aggregated
from jobs.steps.methods_em import dawid_skene, one_coin_dawid_skene, weighted_dawid_skene
from jobs.steps.methods_encoded import EncodedAnswers
from jobs.steps.methods_votes import (
    TIE,
    SqlResult,
    gold_majority_vote,
    iwmv,
    naive_soft,
    pm,
    twothird,
    wawa,
    zero_based_skill,
)
from jobs.steps.progress import Say
from jobs.steps.units import UNIT

__all__ = ["SQL_METHODS", "aggregate_in_sql"]

SQL_METHODS: dict[str, Callable[[EncodedAnswers, Say], SqlResult]] = {
    "dawid_skene": dawid_skene,
    "gold_majority_vote": gold_majority_vote,
    "iwmv": iwmv,
    "naive_soft": naive_soft,
    "one_coin_dawid_skene": one_coin_dawid_skene,
    "pm": pm,
    "twothird": twothird,
    "wawa": wawa,
    "weighted_dawid_skene": weighted_dawid_skene,
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
    return Aggregated(labels, workers, (results,), _fits(method, encoded, result))


def _fits(method: str, encoded: EncodedAnswers, result: SqlResult) -> DataFrame:
    problem = F.lit(str(UndefinedMethodError(method, result.undefined)))
    return encoded.projects.join(result.fits, "project_key", "left").select(
        "project_id",
        F.lit(method).alias("method"),
        F.when(F.col("iterations").isNull(), problem).alias("problem"),
        "iterations",
        "converged",
    )
