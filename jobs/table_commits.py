"""What a Delta table's history says: its newest commit, and who has written to it since another."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from crowdfm_core.errors import InputError, RunError

__all__ = ["Commit", "Commits"]

_CHECKED = 100  # newest ones, in which a run looks for its own and for those of others
_CLOCKS_DIFFER_BY = timedelta(minutes=1)  # at most, that of the storage and ours
_UPKEEP = (  # operations that change files or descriptions, but no row
    *("OPTIMIZE", "VACUUM START", "VACUUM END", "REORG", "CLUSTER BY", "COMPUTE STATS"),
    *("SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "UPGRADE PROTOCOL"),
    *("ADD COLUMNS", "CHANGE COLUMN", "ADD CONSTRAINT", "DROP CONSTRAINT"),
)


class Commit(NamedTuple):
    """A version of a table, when it was written, what did it, and what the writer said of
    itself."""

    version: int
    timestamp: datetime
    operation: str
    metadata: str | None

    @property
    def millis(self) -> int:
        """When it was written, in milliseconds since 1970."""
        return round(self.timestamp.timestamp() * 1000)

    @property
    def creates(self) -> bool:
        """Whether the table was only just created."""
        return self.operation == "CREATE TABLE"


class Commits:
    """The history of one table, read anew with every call."""

    def __init__(self, spark: SparkSession, name: str, metadata: str) -> None:
        """name: of the table in SQL; metadata: what the commits of this run say of themselves."""
        self._spark = spark
        self._name = name
        self._metadata = metadata

    def newest(self) -> Commit:
        """Return the newest commit."""
        commits = self._read(1)
        if not commits:
            raise InputError(f"output {self._name}: has no history; is it a Delta table?")
        return commits[-1]

    def newest_after(self, version: int, finished_at: datetime) -> Commit:
        """Return the newest commit; RunError where the table is not the one of which a run wrote
        the version before it finished."""
        commits = self._read(_CHECKED, version)
        latest = finished_at + _CLOCKS_DIFFER_BY
        if not commits or commits[0].version != version or commits[0].timestamp > latest:
            raise RunError(f"{self._name} has been made anew, or changed too often")
        return commits[-1]

    def own(self, before: Commit) -> Commit | None:
        """Return the last commit of this run after another; None where it has none.

        Raises RunError where others have changed rows between the two, or at all without one.
        """
        commits = self._read(_CHECKED, before.version + 1)
        mine = [commit for commit in commits if commit.metadata == self._metadata]
        own = mine[-1] if mine else None
        others = [
            f"version {commit.version} ({commit.operation} {commit.metadata})"
            for commit in commits
            if commit.metadata != self._metadata
            and commit.operation not in _UPKEEP
            and (own is None or commit.version < own.version)
        ]
        if others:
            raise RunError(
                f"output {self._name}: expected no other writer from version {before.version} to "
                f"this run's commit, found {', '.join(others)}; let one run at a time write to an "
                "output, and run again"
            )
        return own

    def written(self, before: Commit) -> Commit:
        """Return the last commit of this run after another, as `own` does.

        Raises RunError also where there is none: Delta takes one of two marked appends alone.
        """
        if (own := self.own(before)) is None:
            raise RunError(
                f"output {self._name}: expected a commit of this run after version "
                f"{before.version}, found none; run again"
            )
        return own

    def _read(self, newest: int, first_version: int = 0) -> list[Commit]:
        """The newest commits from a version on, the oldest first."""
        history = DeltaTable.forName(self._spark, self._name).history(newest)
        commits = history.select("version", "timestamp", "operation", "userMetadata")
        found = commits.where(F.col("version") >= first_version).collect()
        return sorted((Commit(*row) for row in found), key=attrgetter("version"))
