"""The only place that reads and writes the job's Delta tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from crowdfm_core.config import OutputConfig
from crowdfm_core.errors import InputError, RunError
from jobs.schemas import TABLES, Table
from jobs.spark_errors import reason_of
from jobs.spark_settings import settings_of
from jobs.table_spec import Column as TableColumn
from jobs.table_statements import FEED, alterations, create_statement

__all__ = ["Tables", "write_new_table"]

_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_GONE = "is_gone"  # marks a row of the table that the new rows do not have
_KEY_HASH = "key_hash"
_CHECKED_COMMITS = 100  # newest ones, in which a run looks for its own and for those of others
_AT_ONCE = 4  # tables; most of a small commit is waiting
_CLOCKS_DIFFER_BY = timedelta(minutes=1)  # at most, that of the storage and ours
_UPKEEP = (  # operations that change files or descriptions, but no row
    *("OPTIMIZE", "VACUUM START", "VACUUM END", "REORG", "CLUSTER BY", "COMPUTE STATS"),
    *("SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "UPGRADE PROTOCOL"),
    *("ADD COLUMNS", "CHANGE COLUMN", "ADD CONSTRAINT", "DROP CONSTRAINT"),
)


class Tables:
    """The tables of one output location; every commit carries the run's id.

    versions: table -> the Delta version that holds this run's rows, of tables replaced so far.
    """

    def __init__(self, spark: SparkSession, output: OutputConfig, run_id: str) -> None:
        self._spark = spark
        self._output = output
        self._metadata = json.dumps({"run_id": run_id})
        self.run_id = run_id
        self.versions: dict[str, int] = {}
        self._compared: dict[str, int] = {}  # table -> its version when changes were looked for

    def name(self, table: str) -> str:
        """Return how SQL names the table: delta.`path` or catalog.schema.table."""
        if self.folder is not None:
            return _of_path(f"{self.folder}/{table}")
        return f"{self._output.schema}.{table}"

    @property
    def folder(self) -> str | None:
        """The folder of the tables, absolute and without a slash at its end; None in a catalog."""
        if self._output.path is None:
            return None
        folder = self._output.path.rstrip("/")
        if "://" in folder or folder.startswith("file:"):
            return folder
        return str(Path(folder).absolute())  # SQL takes no relative paths

    def create(self, names: Iterable[str]) -> None:
        """Create the named tables that are not there yet, and bring those of an earlier version up
        to date: columns that they lack are added, and constraints are replaced.

        Raises InputError when the output location cannot be written.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._create, map(TABLES.__getitem__, names)))

    def _create(self, table: Table) -> None:
        name = self.name(table.name)
        try:
            if not self._exists(table.name):
                self._spark.sql(create_statement(table, name))
                return
            shown = self._spark.sql(f"SHOW TBLPROPERTIES {name}").collect()
            properties = {row["key"]: row["value"] for row in shown}
            for change in alterations(table, self._spark.read.table(name).columns, properties):
                self._spark.sql(f"ALTER TABLE {name} {change}")
        except Exception as error:  # Spark's, Delta's and the file system's share no base
            raise InputError(
                f"output {name}: cannot be created or brought up to date ({reason_of(error)}); "
                "check output.path or output.schema and its permissions"
            ) from error

    def read(self, table: str) -> DataFrame:
        """Return this run's rows where it has replaced them, else those that it compared with an
        earlier run's, else the newest."""
        version = self.versions.get(table, self._compared.get(table))
        if version is not None:
            return self._at(table, version)
        return self._spark.read.table(self.name(table))

    def newest_published_run(self) -> Row | None:
        """Return the row of the run that SUCCEEDED last, apart from this one."""
        return self._published_runs().sort(F.desc("started_at")).first()

    def changed_projects(self, names: Iterable[str], run: Row) -> DataFrame:
        """Return projects of which a row changed after a run, in any of the tables; grain:
        project_id.

        run: of newest_published_run, with a version of each table. Tables that do not tell projects
        apart are left out; in a history only the rows of that run count. Read from the change data
        feeds, so that the frame, or what computes it, fails with an error of Spark's where one does
        not reach back so far. Raises RunError where a table was made anew. From here on `read` and
        `replace_rows` take these tables, but for histories, as they are now.
        """
        names = [name for name in names if "project_id" in TABLES[name].key]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            newest = pool.map(lambda name: self._newest_after(name, run), names)
        changed = [self._spark.createDataFrame([], "project_id string")]
        for name, last in zip(names, newest, strict=True):
            is_history = TABLES[name].is_history
            version = self.versions.get(name, last)
            if name not in self.versions and not is_history:
                self._compared[name] = version
            if version > (since := run["output_versions"][name]):
                feed = self._feed(name, since + 1, version)
                of_run = feed.where(F.col("run_id") == run["run_id"]) if is_history else feed
                changed.append(of_run.select("project_id"))
        return reduce(DataFrame.unionByName, changed).distinct()

    def keep_rows(self, names: Iterable[str]) -> None:
        """Have this run name the tables as they were when changed projects were looked for.

        Raises RunError when another run has written to one since.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            versions = pool.map(lambda name: (name, self._unchanged_version(name)), names)
        self.versions.update(versions)

    def replace_rows(self, table: str, rows: DataFrame, projects: DataFrame | None = None) -> None:
        """Make the table hold exactly `rows`, writing only rows that differ.

        rows: one per key, the table's columns. Rows that are equal but for the volatile columns
        keep theirs, so that running the same input again commits nothing. Rows that are not in
        `rows` are deleted. A table without a key is overwritten; one with run_id in its key is a
        history, in which the rows of other published runs stay. projects (column project_id): those
        that `rows` are of, and the only ones whose rows are replaced; None: all, as always in
        tables without a key and in histories. Raises RunError when another run wrote to the table
        at the same time, or since changed_projects looked at it.
        """
        spec = TABLES[table]
        rows = rows.select(*spec.column_names)
        if table in self._compared:
            version, is_new = self._unchanged_version(table), False
        else:
            version, is_new = self._newest(table)
        present = self._at(table, version)
        if not spec.key:
            rows.writeTo(self.name(table)).overwrite(F.lit(True))
            version = self._own_version(table, version)
        elif is_new or present.isEmpty():  # a first load needs no comparison
            # Of two that append to the same version, Delta takes only one with the same mark.
            mark = {"txnAppId": f"crowdfm first load after {version}", "txnVersion": "1"}
            rows.writeTo(self.name(table)).options(**mark).append()
            version = self._own_version(table, version)
        else:
            if spec.is_history:
                published = self._published_runs().select("run_id")
                present = present.join(published, "run_id", "left_anti")
            elif projects is not None:
                present = present.join(projects, "project_id", "left_semi")
            changed = _changes(spec, present, rows).persist()
            if changed.count():  # of all partitions at once
                self._apply(spec, changed)
                version = self._own_version(table, version)
            changed.unpersist()
        self.versions[table] = version

    def _published_runs(self) -> DataFrame:
        """Runs whose rows stay in a history: not this one, which may be running again."""
        runs = self._spark.read.table(self.name("runs")).where("status = 'SUCCEEDED'")
        return runs.where(F.col("run_id") != self.run_id)

    def record_run(self, run: DataFrame) -> None:
        """Write the one row that publishes (or reports) this run; grain: run_id."""
        spec = TABLES["runs"]
        self._apply(spec, run.select(*spec.column_names, F.lit(False).alias(_GONE)))

    def _apply(self, spec: Table, changed: DataFrame) -> None:
        """Delete, update and insert the rows of `changed`; files without any stay untouched."""
        columns: dict[str, str | Column] = {
            f"`{name}`": f"source.`{name}`" for name in spec.column_names
        }
        (
            self._delta(spec.name)
            .alias("target")
            .merge(changed.alias("source"), _same_key(spec))
            .whenMatchedDelete(f"source.{_GONE}")
            .whenMatchedUpdate(set=columns)
            .whenNotMatchedInsert(values=columns)
            .execute()
        )

    def _at(self, table: str, version: int) -> DataFrame:
        return self._spark.sql(f"SELECT * FROM {self.name(table)} VERSION AS OF {version}")

    def _unchanged_version(self, table: str) -> int:
        """Version that was compared; RunError when another run has written to the table since."""
        return self._own_version(table, self._compared[table])

    def _newest_after(self, table: str, run: Row) -> int:
        """The newest version; RunError where the table is not the one that `run` wrote."""
        since = run["output_versions"][table]
        commits = self._delta(table).history(_CHECKED_COMMITS).where(F.col("version") >= since)
        written = {row["version"]: row["timestamp"] for row in commits.collect()}
        if since not in written or written[since] > run["finished_at"] + _CLOCKS_DIFFER_BY:
            raise RunError(f"{self.name(table)} has been made anew, or changed too often")
        return int(max(written))

    def _feed(self, table: str, first: int, last: int) -> DataFrame:
        """Rows that were inserted, updated or deleted from one version to another, inclusive."""
        versions = {"startingVersion": first, "endingVersion": last}
        return self._spark.read.options(readChangeFeed="true", **versions).table(self.name(table))

    def _newest(self, table: str) -> tuple[int, bool]:
        """The newest version, and whether the table was only just created."""
        newest = self._delta(table).history(1).select("version", "operation").first()
        if newest is None:
            raise InputError(f"output {self.name(table)}: has no history; is it a Delta table?")
        return int(newest["version"]), newest["operation"] == "CREATE TABLE"

    def _own_version(self, table: str, before: int) -> int:
        """Version that holds this run's rows, if others changed none since `before`.

        It is that of this run's commit, or `before` where Delta had nothing to commit.
        """
        commits = self._delta(table).history(_CHECKED_COMMITS).where(F.col("version") > before)
        others: list[str] = []
        for row in commits.select("version", "operation", "userMetadata").sort("version").collect():
            version, operation, metadata = row
            if operation in _UPKEEP:
                continue
            if metadata == self._metadata and not others:
                return int(version)
            others.append(f"version {version} ({operation} {metadata})")
        if not others:
            return before
        raise RunError(
            f"output {self.name(table)}: expected no other writer from version {before} to this "
            f"run's commit, found {', '.join(others)}; let one run at a time write to an output, "
            "and run again"
        )

    def _delta(self, table: str) -> DeltaTable:
        return DeltaTable.forName(self._spark, self.name(table))

    def _exists(self, table: str) -> bool:
        if self.folder is not None:
            return DeltaTable.isDeltaTable(self._spark, f"{self.folder}/{table}")
        return self._spark.catalog.tableExists(self.name(table))

    @contextmanager
    def marked_commits(self) -> Iterator[None]:
        """Put the run's id into all commits made within; MERGE reads it from the session alone."""
        with settings_of(self._spark, {_USER_METADATA: self._metadata}):
            yield


def write_new_table(rows: DataFrame, path: Path) -> None:
    """Write a table outside of a run's outputs, such as a demo lake; replaces what is there.

    It has a change data feed, by which runs see which projects have changed.
    """
    writer = rows.writeTo(_of_path(str(path.absolute()))).using("delta")
    writer.tableProperty(FEED, "true").createOrReplace()


def _of_path(path: str) -> str:
    """How SQL names the table in a folder."""
    return f"delta.`{path.replace('`', '``')}`"


def _changes(spec: Table, present: DataFrame, rows: DataFrame) -> DataFrame:
    """Rows that are new, differ, or (marked by _GONE) are no more; grain: the table's key."""
    compared = [column for column in spec.columns if column.name not in (*spec.key, *spec.volatile)]
    # Joined by a hash of the key first, as sorting compares numbers faster than text. Values are
    # put side by side after rows have moved, and move once.
    key = {_KEY_HASH: F.xxhash64(*spec.key)}
    before = present.select(
        *spec.key, F.struct(*(column.name for column in compared)).alias("before")
    ).withColumns(key)
    after = rows.withColumns({**key, _GONE: F.lit(False)})
    differs = ~_struct_of(compared, "before.").eqNullSafe(_struct_of(compared))
    return (
        before.join(after, [_KEY_HASH, *spec.key], "full_outer")
        .withColumn(_GONE, F.coalesce(_GONE, F.lit(True)))
        .where(F.col(_GONE) | F.col("before").isNull() | differs)
        .select(*spec.column_names, _GONE)
    )


def _struct_of(columns: Sequence[TableColumn], place: str = "") -> Column:
    return F.struct(*(_comparable(f"{place}{column.name}", column.type) for column in columns))


def _same_key(spec: Table) -> str:
    return " AND ".join(f"target.`{key}` = source.`{key}`" for key in spec.key)


def _comparable(name: str, kind: str) -> Column:
    """Maps cannot be compared; their sorted entries can."""
    return F.sort_array(F.map_entries(name)) if kind.startswith("map<") else F.col(name)
