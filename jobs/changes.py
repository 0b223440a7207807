"""Which projects a run computes: those that changed since the newest published run, or all."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, Row

from crowdfm_core.config import JobConfig
from crowdfm_core.errors import RunError
from jobs.inputs import read_changes
from jobs.spark_errors import SPARK_ERRORS, reason_of
from jobs.steps.annotations import split_annotations
from jobs.steps.joins import small
from jobs.steps.lineage import cut_lineage
from jobs.steps.progress import Say
from jobs.tables import Tables

__all__ = ["ALL", "Changes", "EarlierRun"]

# Sections of the configuration that results depend on, and keys within others. Annotations and gold
# are compared themselves, frozen weights by their hash.
_SECTIONS = ("methods", "quality", "assignments", "engines", "scoring")
_KEYS = (
    *("model.num_draws", "output.max_probabilities"),
    *("gold.pin_posteriors", "gold.held_out"),
)


@dataclass(frozen=True)
class Changes:
    """What a run computes.

    projects: column project_id, those to compute; None: all, for the `reason`. kept_run_id: the
    published run whose results of all others stay as they are.
    """

    projects: DataFrame | None = None
    num_projects: int | None = None
    kept_run_id: str | None = None
    reason: str = ""

    def only(self, rows: DataFrame) -> DataFrame:
        """Rows of the projects to compute; same grain."""
        if self.projects is None:
            return rows
        return rows.join(self.projects, "project_id", "left_semi")

    def others(self, rows: DataFrame) -> DataFrame:
        """Rows of the projects whose results stay; same grain."""
        assert self.projects is not None  # else there are none
        return rows.join(self.projects, "project_id", "left_anti")


ALL = Changes()


class EarlierRun:
    """The newest published run, and what has changed since.

    There is none whose results may stay where it had other weights, code, tables than `names`, or
    settings that results depend on; then all projects are computed. Every answer is said to `say`,
    with its reason.
    """

    def __init__(
        self,
        tables: Tables,
        names: Collection[str],
        config: JobConfig,
        hashes: Mapping[str, str],
        say: Say,
    ) -> None:
        """hashes: weights_sha256 and code_sha256 of this run."""
        self._tables = tables
        self._names = names
        self._config = config
        self._say = say
        self._row, reason = self._find(hashes)
        if reason:
            say(f"all projects are computed: {reason}")

    def input_changes(self, version: int | None, table_id: str | None) -> Changes:
        """Find the projects of which rows of the input or of `annotations` changed.

        version, table_id: of the input. All, unless the input is a Delta table whose change data
        feed reaches back to the version which that run read in the same way.
        """
        run = self._row
        if run is None:
            return ALL
        if reason := self._why_all_answers(run, version, table_id):
            changes = Changes(reason=reason)
        else:
            assert version is not None  # else there was a reason
            changes = _found(run, lambda: self._changed_input(run, version))
        self._report(changes, "projects of the input are compared")
        return changes

    def changes(self) -> Changes:
        """Find the projects that have to be computed.

        A project is, where a row of any table (annotations and gold are this run's already) changed
        after the version that the earlier run names: also when a run that failed, or somebody else,
        changed it. All are where a table's change data feed does not reach back to it.
        """
        run = self._row
        if run is None:
            return ALL
        changes = _found(run, lambda: self._tables.changed_projects(self._names, run))
        self._report(changes, "projects are computed")
        return changes

    def _find(self, hashes: Mapping[str, str]) -> tuple[Row | None, str]:
        if self._config.recompute == "all":
            return None, "recompute is all"
        run = self._tables.newest_published_run()
        if run is None:
            return None, "no earlier run was published"
        if differing := _differing(run, self._names, self._config, hashes):
            return None, f"run {run['run_id']} had other {', '.join(differing)}"
        return run, ""

    def _why_all_answers(self, run: Row, version: int | None, table_id: str | None) -> str:
        then, now = _config(run), self._config.to_mapping()
        if version is None or run["input_version"] is None:
            return f"the input has no version now, or had none in run {run['run_id']}"
        if any(then.get(name) != now[name] for name in ("input", "duplicates")):
            return f"run {run['run_id']} read another input, or otherwise"
        if run["input_table_id"] != table_id:
            return f"the input was made anew since run {run['run_id']}"
        return ""

    def _changed_input(self, run: Row, version: int) -> DataFrame:
        projects = self._tables.changed_projects(["annotations"], run)
        if run["input_version"] == version:
            return projects
        source = self._config.input
        rows = read_changes(projects.sparkSession, source, run["input_version"], version)
        good, _ = split_annotations(rows)
        return projects.unionByName(good.select("project_id")).distinct()

    def _report(self, changes: Changes, what: str) -> None:
        if changes.projects is None:
            self._say(f"all {what}: {changes.reason}")
        else:
            since = f"which changed since run {changes.kept_run_id}"
            self._say(f"{changes.num_projects} {what}, {since}")


def _found(run: Row, find: Callable[[], DataFrame]) -> Changes:
    try:
        projects = cut_lineage(find())
        number = projects.count()
    except (RunError, *SPARK_ERRORS) as error:
        return Changes(
            reason=f"changes since run {run['run_id']} cannot be read ({reason_of(error)})"
        )
    return Changes(small(projects, number), number, run["run_id"])


def _differing(
    run: Row, names: Collection[str], config: JobConfig, hashes: Mapping[str, str]
) -> list[str]:
    """What the run's results were made with, and this run's are not."""
    then, now = (_result_settings(mapping) for mapping in (_config(run), config.to_mapping()))
    # A table that is no longer made leaves the others as they are.
    then |= {"assignments": None} if now["assignments"] is None else {}
    differing = sorted(key for key in now if then[key] != now[key])
    if not set(names) <= (run["output_versions"] or {}).keys():
        differing.append("tables")
    what = {"weights_sha256": "weights", "code_sha256": "code or libraries"}
    return [*differing, *(what[name] for name in what if run[name] != hashes[name])]


def _config(run: Row) -> dict[str, Any]:
    mapping: dict[str, Any] = json.loads(run["config"] or "{}")
    return mapping


def _result_settings(mapping: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: mapping.get(name) for name in _SECTIONS}
    for key in _KEYS:
        section, name = key.split(".")
        settings[key] = (mapping.get(section) or {}).get(name)
    conf = (mapping.get("spark") or {}).get("conf") or {}
    # Such as the time zone of times without one.
    settings["spark.conf"] = {name: conf[name] for name in conf if name.startswith("spark.sql.")}
    return settings
