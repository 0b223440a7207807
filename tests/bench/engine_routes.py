"""Ten iterations of Dawid-Skene on a lake, by one engine: `python -m tests.bench.engine_routes`.

Reads LAKE/annotations (Parquet: project, task, worker, label), writes OUT (Parquet: project, task,
label), and prints the seconds from the first to the last. Run as a process of its own, so that its
memory can be told.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import parquet

__all__ = ["ITERATIONS", "ROUTES", "main"]

ITERATIONS = 10
_NEVER = -1e300  # a tolerance below any change, so that no project ends early


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ROUTE LAKE OUT DRIVER_MEMORY."""
    route, lake, out, driver_memory = arguments or sys.argv[1:]
    sys.stdout.write(f"seconds {ROUTES[route](lake, out, driver_memory):.3f}\n")
    return 0


def _arrays(lake: str, out: str, driver_memory: str) -> float:
    from pyspark.sql import DataFrame
    from pyspark.sql import functions as F

    from jobs.steps.batches import assign_batches
    from jobs.steps.options import index_options
    from jobs.steps.outputs import labels_from_scores
    from jobs.steps.scoring import arrange_batches
    from udfs.aggregate_projects import METHOD_SCHEMA

    def labels(annotations: DataFrame) -> DataFrame:
        counts = annotations.groupBy("project_id").agg(F.count("*").alias("num_annotations"))
        slots = annotations.sparkSession.sparkContext.defaultParallelism
        batches = assign_batches(
            counts, max_annotations=1_000_000, slots=slots, key=("project_id",)
        ).persist()
        arranged = arrange_batches(annotations, index_options(annotations).persist(), batches)
        return labels_from_scores(arranged.mapInArrow(_ten_iterations, METHOD_SCHEMA))

    return _in_spark(labels, lake, out, driver_memory)


def _ten_iterations(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The method's UDF, in a Python worker whose registry has it with ten iterations."""
    from crowdfm_core.methods import dawid_skene, registry
    from udfs.aggregate_projects import aggregate_projects

    run = partial(dawid_skene.dawid_skene, max_iterations=ITERATIONS, tolerance=_NEVER)
    registry.METHODS["dawid_skene"] = replace(registry.METHODS["dawid_skene"], run=run)
    yield from aggregate_projects(method="dawid_skene", max_probabilities=50, max_bytes=16 << 30)(
        batches
    )


def _sql(lake: str, out: str, driver_memory: str) -> float:
    from pyspark.sql import DataFrame

    from jobs.steps.gold import GOLD_SCHEMA
    from jobs.steps.methods_em import dawid_skene
    from jobs.steps.methods_encoded import encode_answers
    from jobs.steps.methods_sql import SQL_METHODS, aggregate_in_sql
    from jobs.steps.options import index_options

    SQL_METHODS["dawid_skene"] = partial(dawid_skene, max_iterations=ITERATIONS, tolerance=_NEVER)

    def labels(annotations: DataFrame) -> DataFrame:
        nothing = annotations.sparkSession.createDataFrame([], GOLD_SCHEMA)
        encoded = encode_answers(annotations, index_options(annotations), nothing)
        return aggregate_in_sql(
            "dawid_skene", encoded, max_probabilities=50, say=lambda _: None
        ).labels

    return _in_spark(labels, lake, out, driver_memory)


def _in_spark(labels: Callable[..., object], lake: str, out: str, driver_memory: str) -> float:
    from pyspark.sql import functions as F

    from crowdfm_core.config import SparkConfig
    from jobs.session import make_session

    spark = make_session(
        SparkConfig(master="local[*]", conf={"spark.driver.memory": driver_memory})
    )
    began = time.perf_counter()
    rows = spark.read.parquet(f"{lake}/annotations")
    annotations = rows.select(
        F.col("project").alias("project_id"),
        F.col("task").alias("task_id"),
        F.col("worker").alias("worker_id"),
        "label",
        F.lit("").alias("component_id"),
    )
    found: Any = labels(annotations)
    found.selectExpr("project_id AS project", "task_id AS task", "label").write.parquet(out)
    seconds = time.perf_counter() - began
    spark.stop()
    return seconds


def _crowd_kit(lake: str, out: str, driver_memory: str) -> float:
    """Project by project, as crowd-kit knows one set of tasks at a time; no Java."""
    from crowdkit.aggregation import DawidSkene

    began = time.perf_counter()
    table = parquet.read_table(
        f"{lake}/annotations", columns=["project", "task", "worker", "label"]
    ).sort_by("project")
    counts = table.group_by("project", use_threads=False).aggregate([("task", "count")])
    parts, start = [], 0
    for project, number in sorted(
        zip(counts["project"].to_pylist(), counts["task_count"].to_pylist(), strict=True)
    ):
        frame = table.slice(start, number).select(["task", "worker", "label"]).to_pandas()
        start += number
        found = DawidSkene(n_iter=ITERATIONS, tol=-float("inf")).fit_predict(frame)
        parts.append(
            pa.table(
                {
                    "project": pa.repeat(project, len(found)),
                    "task": pa.array(found.index.astype(str), pa.string()),
                    "label": pa.array(found.astype(str), pa.string()),
                }
            )
        )
    parquet.write_table(pa.concat_tables(parts), out)
    return time.perf_counter() - began


ROUTES: dict[str, Callable[[str, str, str], float]] = {
    "arrays": _arrays,
    "sql": _sql,
    "crowd-kit": _crowd_kit,
}

if __name__ == "__main__":
    sys.exit(main())
