"""One run of the nightly job: its phases in order, its counts, its row in `runs`."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crowdfm_core.config import JobConfig
from crowdfm_core.errors import ConfigError, RunError
from crowdfm_core.read_outs import has_pair_head
from crowdfm_core.weights import FrozenWeights, load_weights
from jobs.changes import ALL, EarlierRun
from jobs.checkpoints import checkpoint_folder, checkpoints_in
from jobs.code_version import code_sha256
from jobs.counts import count_reasons
from jobs.inputs import input_fingerprint, input_table_id, input_version, read_rows
from jobs.results import Results
from jobs.run_row import run_row
from jobs.session import make_session, scoring_profile
from jobs.spark_errors import reason_of
from jobs.spark_settings import settings_of
from jobs.steps.annotations import (
    KEY,
    conflicting,
    parse_times,
    resolve_duplicates,
    split_annotations,
)
from jobs.steps.components import (
    add_components,
    check_components,
    component_sizes,
    find_components,
)
from jobs.steps.crowdfm import Aggregated
from jobs.steps.gold import GOLD_SCHEMA, gold_labels, rejected_gold
from jobs.steps.methods import Methods
from jobs.steps.outputs import stamp
from jobs.summary import RunSummary
from jobs.tables import Tables

__all__ = ["run_nightly"]

_log = logging.getLogger(__name__)

# What goes to Python after the input was read is short: the number of rows bounds a batch. To add
# up its bytes after every row, as Spark does, takes as long as all else that Java does to send it.
_SHORT_ROWS = {"spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1)}


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
    if config.assignments is not None and not has_pair_head(weights.heads):
        problem = (
            "assignments: expected weights that know which workers suit which tasks, such as "
            f"default, got model.weights {config.model.weights!r}, which have no such head"
        )
        raise ConfigError([problem], where="configuration")
    spark = make_session(config.spark)
    run = _Run(spark, config, run_id, dry_run, weights)
    with run.tables.marked_commits():
        run.prepare()
        try:
            with checkpoints_in(spark, run.checkpoint_folder()):
                run.execute()
        except Exception as error:
            run.fail(error)
            raise
        run.succeed()
    return run.summary


class _Run:
    """One run: its phases in order, each timed where Spark really works."""

    def __init__(
        self,
        spark: SparkSession,
        config: JobConfig,
        run_id: str,
        dry_run: bool,
        weights: FrozenWeights,
    ) -> None:
        self.spark = spark
        self.config = config
        self.dry_run = dry_run
        self.hashes = {
            "weights_sha256": weights.sha256,
            "code_sha256": code_sha256(weights.config),
        }
        self.input_table_id: str | None = None
        self.started_at = datetime.now(UTC)
        self.persisted: list[DataFrame] = []
        self.tables = Tables(spark, config.output, run_id)
        self.summary = RunSummary(
            run_id=run_id,
            dry_run=dry_run,
            input=config.input.path or config.input.table or "",
        )
        self.files: tuple[int, int] | None = None
        self.earlier: EarlierRun | None = None  # None in a dry run
        self.results = Results(self.tables, config, self.summary, self.persisted)
        self.gold = spark.createDataFrame([], GOLD_SCHEMA)  # known truth, of the tasks that have it

    def prepare(self) -> None:
        """Open input and output, so that errors come before the first write."""
        output = self.config.output
        self._say("from %s to %s", self.summary.input, output.path or output.schema)
        with self._phase("open"):
            self.files = input_fingerprint(self.spark, self.config.input)
            self.summary.input_version = input_version(self.spark, self.config.input)
            self.raw = read_rows(self.spark, self.config.input, version=self.summary.input_version)
            if (gold := self.config.gold) is not None:
                self.raw_gold = read_rows(self.spark, gold, version=input_version(self.spark, gold))
            if not self.dry_run:
                self.input_table_id = input_table_id(self.spark, self.config.input)
                names = [*self.results.names, "runs"]
                self.tables.create(names)
                self.summary.tables = {name: self.tables.name(name) for name in names}
                self.earlier = EarlierRun(
                    self.tables, self.results.names, self.config, self.hashes, self._say
                )

    def checkpoint_folder(self) -> str | None:
        """Where frames are kept for the case that an executor is lost, if the run decides that."""
        context = self.spark.sparkContext
        output = None if self.dry_run else self.tables.folder
        present = context.getCheckpointDir()
        master = context.master or ""
        return checkpoint_folder(master, output, self.summary.run_id, present=present)

    def execute(self) -> None:
        """Run all phases; in a dry run up to the components."""
        try:
            self._execute()
        finally:
            for frame in self.persisted:
                frame.unpersist()

    def _execute(self) -> None:
        with self._phase("annotations"):
            annotations = self._annotations()
            self._check_input_unchanged()
        if self.config.gold is not None:
            with self._phase("gold"):
                self.gold = self._gold(self.config.gold.held_out)
        if self.earlier is not None:
            with self._phase("changes"):
                changes = self.earlier.changes()
            annotations, self.gold = map(changes.only, (annotations, self.gold))
            self.summary.projects_changed = changes.num_projects
            self.summary.kept_run_id = changes.kept_run_id
            self.results.changes = changes
        if self.results.changes.num_projects == 0:
            with self._phase("write"):
                self.results.keep()
        else:
            with settings_of(self.spark, _SHORT_ROWS):
                self._compute(annotations)

    def _compute(self, annotations: DataFrame) -> None:
        with self._phase("components"):
            placed, components = self._components(annotations)
        if self.dry_run:
            return
        results: list[Aggregated] = []
        profile = scoring_profile(self.config.spark)
        methods = Methods(
            placed,
            components,
            self.gold,
            self.config,
            self.hashes["weights_sha256"],
            profile,
            self.persisted,
            self._say,
        )
        for method in self.config.methods:
            with self._phase(method):
                results.append(methods.run(method))
        with self._phase("write"):
            self.results.write(components, results)
        if self.config.quality:
            with self._phase("quality"):
                self.results.write_quality(placed, methods.votes, self.gold)
        with self._phase("workers"):
            self.results.write_workers(results)

    def succeed(self) -> None:
        """Write the run's row; a run is published by it alone."""
        self.summary.versions = dict(self.tables.versions)
        self._record(None)
        self._say("dry run, nothing written" if self.dry_run else "SUCCEEDED")

    def fail(self, error: BaseException) -> None:
        """Report the failure in the run's row, as far as tables can still be written."""
        reason = reason_of(error)
        _log.error("run %s: FAILED: %s", self.summary.run_id, reason)
        try:
            self._record(reason)
        except Exception as second:  # the first error is the one that matters
            _log.error("run %s: no row in runs: %s", self.summary.run_id, reason_of(second))

    def _record(self, error: str | None) -> None:
        if self.dry_run:
            return
        row = run_row(
            self.spark,
            self.summary,
            self.config,
            started_at=self.started_at,
            **self.hashes,
            input_table_id=self.input_table_id,
            error=error,
        )
        self.tables.record_run(row)

    def _check_input_unchanged(self) -> None:
        now = input_fingerprint(self.spark, self.config.input)
        if now != self.files:
            counts = [files[0] if files else 0 for files in (self.files, now)]
            raise RunError(
                f"input {self.summary.input}: files changed while they were read ({counts[0]} "
                f"before, {counts[1]} after); run again when they are complete"
            )

    def _annotations(self) -> DataFrame:
        """Split good rows from bad ones, resolve duplicates, count and write both."""
        good, rejected = split_annotations(self.raw)
        if self.config.duplicates == "reject":
            rejected = rejected.unionByName(conflicting(good))
        changes = ALL
        if self.earlier is not None:
            version = self.summary.input_version
            changes = self.earlier.input_changes(version, self.input_table_id)
        annotations = resolve_duplicates(parse_times(changes.only(good)), self.config.duplicates)
        self.summary.rows_read = self.raw.count()
        run_id = self.summary.run_id
        if self.dry_run:
            count_reasons(self.summary, rejected)
            annotations = annotations.persist()
            self.persisted.append(annotations)
        else:
            written = {"rejected_annotations": rejected.withColumn("run_id", F.lit(run_id))}
            if changes.num_projects == 0:
                self.tables.keep_rows(["annotations"])
            else:
                source = annotations.withColumn("source", F.lit(self.config.input.source))
                written["annotations"] = stamp(source, run_id, "ingested_at")
            self.results.replace(changes.projects, **written)
            # From here on the run reads what it wrote: columns, not the text of the input.
            count_reasons(self.summary, self.tables.read("rejected_annotations"))
            annotations = self.tables.read("annotations")
        return annotations.select(*KEY, "label", "annotated_at")

    def _components(self, annotations: DataFrame) -> tuple[DataFrame, DataFrame]:
        workers = find_components(annotations).persist()
        placed = add_components(annotations, workers).persist(StorageLevel.DISK_ONLY)
        components = component_sizes(placed, workers).persist()
        self.persisted += [workers, placed, components]
        check_components(annotations, components)
        self.results.count_components(components.drop("num_split_tasks"))
        return placed, components

    def _gold(self, held_out: float) -> DataFrame:
        """Split good rows of gold from bad ones, count and write both."""
        raw = self.raw_gold.persist()
        gold, rejected = gold_labels(raw, held_out=held_out).persist(), rejected_gold(raw)
        self.persisted += [raw, gold]
        self.summary.gold_labels = gold.count()
        self.summary.gold_rows_rejected = rejected.count()
        if self.dry_run:
            return gold
        run_id = self.summary.run_id
        self.results.replace(
            gold_labels=stamp(gold, run_id),
            rejected_gold_labels=rejected.withColumn("run_id", F.lit(run_id)),
        )
        return gold

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self._say("%s ...", name)
        try:
            yield
        finally:
            self.summary.phase_seconds[name] = round(time.monotonic() - began, 2)

    def _say(self, message: str, *values: object) -> None:
        _log.info(f"run {self.summary.run_id}: {message}", *values)
