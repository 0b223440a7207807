"""The nightly job: annotations of a lake in, labels and worker scores in Delta tables out.

Runs as `crowdfm nightly --conf FILE` and as `spark-submit jobs/nightly.py --conf FILE`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import yaml
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crowdfm_core.config import JobConfig, load_config
from crowdfm_core.errors import CrowdFMError
from crowdfm_core.weights import load_weights
from jobs.inputs import input_version, read_annotations
from jobs.schemas import TABLES
from jobs.session import make_session, scoring_profile
from jobs.steps.annotations import accepted, conflicting, reject_reasons, resolve_duplicates
from jobs.steps.components import (
    add_components,
    check_components,
    component_sizes,
    find_components,
)
from jobs.steps.crowdfm import Aggregated, aggregate_with_crowdfm
from jobs.steps.majority_vote import (
    keep_most_probable,
    majority_vote_labels,
    majority_vote_workers,
)
from jobs.steps.outputs import stamp
from jobs.summary import RunSummary
from jobs.tables import Tables

__all__ = ["main", "run_nightly"]

_log = logging.getLogger(__name__)


def run_nightly(
    config: JobConfig, *, run_id: str | None = None, dry_run: bool = False
) -> RunSummary:
    """Run the whole job once and return what it did.

    dry_run: plan and count, write nothing. Raises a CrowdFMError before anything is written when
    configuration, weights, input or output cannot be used. A failure after that leaves the tables
    of earlier runs readable at the versions that their row in `runs` names, and is repaired by
    running again.
    """
    run_id = run_id or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    weights = load_weights(config.model.weights)
    spark = make_session(config.spark)
    run = _Run(spark, config, run_id, dry_run, weights.sha256)
    with run.tables.marked_commits():
        run.prepare()
        try:
            run.execute()
        except Exception as error:
            run.finish(error)
            raise
        run.finish(None)
    return run.summary


class _Run:
    """One run: its phases in order, each timed where Spark really works."""

    def __init__(
        self,
        spark: SparkSession,
        config: JobConfig,
        run_id: str,
        dry_run: bool,
        weights_sha256: str,
    ) -> None:
        self.spark = spark
        self.config = config
        self.dry_run = dry_run
        self.weights_sha256 = weights_sha256
        self.started_at = datetime.now(UTC)
        self.tables = Tables(spark, config.output, run_id)
        self.summary = RunSummary(
            run_id=run_id,
            dry_run=dry_run,
            input=config.input.path or config.input.table or "",
        )
        self.persisted: list[DataFrame] = []

    def prepare(self) -> None:
        """Open input and output, so that errors come before the first write."""
        with self._phase("open"):
            self.summary.input_version = input_version(self.spark, self.config.input)
            self.raw = read_annotations(
                self.spark, self.config.input, version=self.summary.input_version
            )
            if not self.dry_run:
                self.tables.create_all()
                self.summary.tables = {name: self.tables.name(name) for name in TABLES}

    def execute(self) -> None:
        """Run all phases; in a dry run up to the components."""
        with self._phase("annotations"):
            annotations = self._annotations()
        with self._phase("components"):
            placed, components = self._components(annotations)
        if self.dry_run:
            return
        results = []
        if "crowdfm" in self.config.methods:
            with self._phase("crowdfm"):
                profile = scoring_profile(self.config.spark)
                crowdfm = aggregate_with_crowdfm(
                    placed, components, self.config, self.weights_sha256, profile
                )
                results.append(crowdfm)
                crowdfm.persisted[0].count()  # scores now, once, under this phase's clock
        if "majority_vote" in self.config.methods:
            with self._phase("majority_vote"):
                results.append(self._majority_vote(placed))
        with self._phase("write"):
            self._write(components, results)
        for frame in (*self.persisted, *(frame for r in results for frame in r.persisted)):
            frame.unpersist()

    def finish(self, error: BaseException | None) -> None:
        """Write the run's row; a run is published by it alone."""
        if self.dry_run:
            return
        summary = self.summary
        if error is None:
            summary.versions = {
                name: self.tables.version(name) for name in TABLES if name != "runs"
            }
        row = {
            "run_id": summary.run_id,
            "status": "SUCCEEDED" if error is None else "FAILED",
            "started_at": self.started_at,
            "finished_at": datetime.now(UTC),
            "phase_seconds": summary.phase_seconds,
            "input_table": summary.input,
            "input_version": summary.input_version,
            "output_versions": summary.versions,
            "counts": summary.counts(),
            "config_sha256": self.config.sha256(),
            "config": json.dumps(self.config.to_mapping(), sort_keys=True),
            "weights_sha256": self.weights_sha256,
            "error": None if error is None else str(error)[:10_000],
        }
        schema = ", ".join(f"{column.name} {column.type}" for column in TABLES["runs"].columns)
        names = TABLES["runs"].column_names
        self.tables.record_run(self.spark.createDataFrame([[row[n] for n in names]], schema))

    def _annotations(self) -> DataFrame:
        """Split good rows from bad ones, resolve duplicates, count and write both."""
        checked = reject_reasons(self.raw)
        rejected = checked.where(F.size("reasons") > 0)
        contradictory = conflicting(checked) if self.config.duplicates == "reject" else None
        if contradictory is not None:
            rejected = rejected.unionByName(contradictory)
        annotations = resolve_duplicates(accepted(checked), self.config.duplicates)
        self._count(checked, contradictory)
        run_id = self.summary.run_id
        if self.dry_run:
            annotations = annotations.persist()
            self.persisted.append(annotations)
        else:
            source = annotations.withColumn("source", F.lit(self.config.input.source))
            self._replace(
                rejected_annotations=rejected.withColumn("run_id", F.lit(run_id)),
                annotations=stamp(source, run_id, "ingested_at"),
            )
            # From here on the run reads what it wrote: columns, not the text of the input.
            annotations = self.tables.read("annotations")
        return annotations.select("project_id", "task_id", "worker_id", "label")

    def _count(self, checked: DataFrame, contradictory: DataFrame | None) -> None:
        """Count what was read and what is rejected, by reason, in one pass over the input."""
        summary = self.summary
        # One row per combination of reasons, of which there are a handful.
        combinations = checked.groupBy("reasons").count().collect()
        summary.rows_read = sum(int(row["count"]) for row in combinations)
        if contradictory is not None:
            combinations += contradictory.groupBy("reasons").count().collect()
        for row in combinations:
            summary.rows_rejected += int(row["count"]) if row["reasons"] else 0
            for reason in row["reasons"]:
                summary.rejected[reason] = summary.rejected.get(reason, 0) + int(row["count"])

    def _components(self, annotations: DataFrame) -> tuple[DataFrame, DataFrame]:
        workers = find_components(annotations).persist()
        placed = add_components(annotations, workers)
        components = component_sizes(placed).persist()
        self.persisted += [workers, components]
        check_components(placed, components)
        totals = components.agg(
            F.count_distinct("project_id").alias("projects"),
            F.count("*").alias("components"),
            F.sum("num_tasks").alias("tasks"),
            F.sum("num_workers").alias("workers"),
            F.sum("num_annotations").alias("annotations"),
        ).first()
        if totals is not None:
            for name in ("projects", "components", "tasks", "workers", "annotations"):
                setattr(self.summary, name, int(totals[name] or 0))
        summary = self.summary
        summary.rows_superseded = summary.rows_read - summary.rows_rejected - summary.annotations
        return placed, components

    def _majority_vote(self, placed: DataFrame) -> Aggregated:
        labels = majority_vote_labels(placed).persist()
        workers = majority_vote_workers(placed, labels)
        kept = keep_most_probable(labels, self.config.output.max_probabilities)
        labels.count()
        return Aggregated(kept, workers, (labels,))

    def _write(self, components: DataFrame, results: list[Aggregated]) -> None:
        labels, workers = results[0].labels, results[0].workers
        for result in results[1:]:
            labels = labels.unionByName(result.labels)
            workers = workers.unionByName(result.workers)
        run_id = self.summary.run_id
        self._replace(
            components=components,
            aggregated_labels=stamp(labels, run_id),
            worker_scores=stamp(workers, run_id),
        )
        ties = self.tables.read("aggregated_labels").where("is_tie").groupBy("method").count()
        self.summary.ties = {row["method"]: int(row["count"]) for row in ties.collect()}

    def _replace(self, **tables: DataFrame) -> None:
        """Replace the rows of several tables at once: most of a small commit is waiting."""
        with ThreadPoolExecutor(len(tables)) as pool:
            writes = [
                pool.submit(self.tables.replace_rows, name, rows) for name, rows in tables.items()
            ]
        for write in writes:
            write.result()  # raises what the write raised, after the others have ended

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        _log.info("run %s: %s ...", self.summary.run_id, name)
        try:
            yield
        finally:
            self.summary.phase_seconds[name] = round(time.monotonic() - began, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 done, 2 refused with one message, 1 failed."""
    parser = argparse.ArgumentParser(prog="crowdfm nightly", description=__doc__)
    parser.add_argument("--conf", required=True, help="configuration, see conf/local.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for this run only"
    )
    parser.add_argument("--run-id", help="name of the run (default: time and a random part)")
    parser.add_argument("--dry-run", action="store_true", help="plan and count, write nothing")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and stop"
    )
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        config = load_config(chosen.conf, chosen.set)
        if chosen.print_config:
            sys.stdout.write(yaml.safe_dump(config.to_mapping(), sort_keys=False))
            return 0
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        for package in ("crowdfm_core", "jobs", "udfs"):
            logging.getLogger(package).setLevel(config.logging.level)
        summary = run_nightly(config, run_id=chosen.run_id, dry_run=chosen.dry_run)
    except CrowdFMError as error:
        sys.stderr.write(f"crowdfm nightly: {error}\n")
        return 2
    except PySparkException as error:
        _log.debug("Spark failed", exc_info=True)
        sys.stderr.write(f"crowdfm nightly: Spark failed: {error}\n")
        return 1
    text = summary.to_json() if chosen.json else summary.to_text()
    sys.stdout.write(f"{text}\n")
    _log.info("finished after %.1f seconds", time.monotonic() - began)
    return 0


if __name__ == "__main__":
    sys.exit(main())
