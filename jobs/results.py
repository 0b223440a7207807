"""Writes what a run found, and keeps what an earlier one found of projects without changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import reduce

from pyspark.sql import DataFrame

from crowdfm_core.config import JobConfig
from jobs import counts
from jobs.changes import ALL
from jobs.schemas import GOLD_TABLES, QUALITY_TABLES, TABLES
from jobs.steps.crowdfm import Aggregated
from jobs.steps.gold import methods_with_gold
from jobs.steps.outputs import FIT_SCHEMA, stamp
from jobs.steps.quality import (
    add_spam_scores,
    measure_quality,
    previous_quality,
    unchanged_quality,
)
from jobs.summary import RunSummary
from jobs.tables import Tables

__all__ = ["Results"]


class Results:
    """The tables of one run but its own row.

    names: of these tables. changes: which projects are computed, set before results are written.
    What is kept for further tables is added to `persisted`.
    """

    def __init__(
        self,
        tables: Tables,
        config: JobConfig,
        summary: RunSummary,
        persisted: list[DataFrame],
    ) -> None:
        self.tables = tables
        self.config = config
        self.summary = summary
        self.persisted = persisted
        self.changes = ALL
        self.names = _result_tables(config)

    def keep(self) -> None:
        """Publish the results of an earlier run again, as no project has changed."""
        self.tables.keep_rows({*self.names} - {*self._histories, *self.tables.versions})
        run_id = self.summary.run_id
        self.replace(**{name: stamp(self._unchanged(name), run_id) for name in self._histories})
        counts.count_components(self.summary, self.tables.read("components"))
        self._count_results()

    def count_components(self, components: DataFrame) -> None:
        """Count the components of all projects; components: of those that are computed."""
        if self.changes.projects is not None:
            kept = self.changes.others(self.tables.read("components"))
            components = components.unionByName(kept)
        counts.count_components(self.summary, components)

    def write(self, components: DataFrame, results: list[Aggregated]) -> None:
        """Write components, the labels of all methods, and who should answer what next."""
        run_id = self.summary.run_id
        fits = [result.fits for result in results if result.fits is not None]
        fits = fits or [components.sparkSession.createDataFrame([], FIT_SCHEMA)]
        tables = {
            "components": components,
            "aggregated_labels": stamp(_union([result.labels for result in results]), run_id),
            "method_fits": stamp(_union(fits), run_id),
        }
        for result in results:
            if result.assignments is not None:  # of crowdfm
                tables["assignments"] = stamp(result.assignments, run_id)
        self.replace(self.changes.projects, **tables)
        self._count_results()

    def write_quality(self, annotations: DataFrame, votes: DataFrame, gold: DataFrame) -> None:
        """Measure quality and write its tables; arguments: as of measure_quality."""
        tables, run_id = self.tables, self.summary.run_id
        quality = measure_quality(
            annotations,
            votes,
            self.changes.only(tables.read("aggregated_labels")),
            gold,
            previous_quality(tables.read("project_quality"), tables.read("runs"), run_id),
            reference=self.config.methods[0],
            with_gold=methods_with_gold(self.config),
            persisted=self.persisted,
        )
        if self.changes.projects is not None:
            for name in self._histories:
                quality[name] = quality[name].unionByName(self._unchanged(name))
        stamped = {name: stamp(rows, run_id) for name, rows in quality.items()}
        self.replace(self.changes.projects, **stamped)

    def write_workers(self, results: list[Aggregated]) -> None:
        """Write worker_scores of all methods, after quality."""
        workers = _union([result.workers for result in results])
        if self.config.quality:
            judged = self.changes.only(self.tables.read("worker_quality"))
            workers = add_spam_scores(workers, judged)
        stamped = stamp(workers, self.summary.run_id)
        self.replace(self.changes.projects, worker_scores=stamped)

    def replace(self, projects: DataFrame | None = None, **tables: DataFrame) -> None:
        """Replace the rows of several tables at once: most of a small commit is waiting.

        projects: see Tables.replace_rows.
        """
        with ThreadPoolExecutor(max(1, len(tables))) as pool:
            writes = [
                pool.submit(self.tables.replace_rows, name, rows, projects)
                for name, rows in tables.items()
            ]
        for write in writes:
            write.result()  # raises what the write raised, after the others have ended

    @property
    def _histories(self) -> list[str]:
        """Tables of quality that have rows of every run."""
        return [name for name in self.names if TABLES[name].is_history]

    def _unchanged(self, history: str) -> DataFrame:
        """What this run says of projects that it does not compute."""
        run_id = self.changes.kept_run_id
        assert run_id is not None  # else all are computed
        return unchanged_quality(self.changes.others(self.tables.read(history)), run_id)

    def _count_results(self) -> None:
        labels, fits = self.tables.read("aggregated_labels"), self.tables.read("method_fits")
        counts.count_labels(self.summary, labels, fits, self.config.methods)
        if self.config.assignments is not None:
            counts.count_assignments(self.summary, self.tables.read("assignments"))


def _result_tables(config: JobConfig) -> list[str]:
    """Tables that a run with this configuration writes before its own row."""
    without = {table.name for table in GOLD_TABLES if config.gold is None}
    without |= {table.name for table in QUALITY_TABLES if not config.quality}
    if config.assignments is None:
        without.add("assignments")
    return [name for name in TABLES if name not in (*without, "runs")]


def _union(parts: list[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, parts)
