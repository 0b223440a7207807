"""The only place that reads and writes the job's Delta tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from crowdfm_core.config import OutputConfig
from crowdfm_core.errors import InputError
from jobs.schemas import TABLES, Table
from jobs.spark_errors import reason_of
from jobs.spark_settings import settings_of
from jobs.table_commits import Commit, Commits
from jobs.table_spec import Column as TableColumn
from jobs.table_statements import FEED, alterations, create_statement

__all__ = ["Tables", "write_new_table"]

_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_CHANGE, _INSERT, _UPDATE, _DELETE = "change", "insert", "update", "delete"
_KEY_HASH = "key_hash"
_FEW_CHANGES = 100_000  # rows that are sent to every executor, of some hundred bytes each
_AT_ONCE = 4  # tables; most of a small commit is waiting


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
        self._compared: dict[str, Commit] = {}  # table -> its newest when changes were looked for

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
        if table in self.versions:
            return self._at(table, self.versions[table])
        if table in self._compared:
            return self._at(table, self._compared[table].version)
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
            version = self.versions.get(name, last.version)
            if name not in self.versions and not is_history:
                self._compared[name] = last
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
            versions = pool.map(lambda name: (name, self._unchanged(name).version), names)
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
        commits = self._commits(table)
        before = self._unchanged(table) if table in self._compared else commits.newest()
        if not spec.key:
            rows.writeTo(self.name(table)).overwrite(F.lit(True))
            after = commits.own(before) or before
        elif before.creates:  # nothing to compare with
            self._append(table, rows, before)
            after = commits.written(before)
        else:
            present = self._at(table, before.version)
            if spec.is_history:
                published = self._published_runs().select("run_id")
                present = present.join(published, "run_id", "left_anti")
            elif projects is not None:
                present = present.join(projects, "project_id", "left_semi")
            changes = _changes(spec, present, rows).persist()
            after = commits.written(before) if self._apply(spec, changes, before) else before
            changes.unpersist()
        self.versions[table] = after.version

    def _published_runs(self) -> DataFrame:
        """Runs whose rows stay in a history: not this one, which may be running again."""
        runs = self._spark.read.table(self.name("runs")).where("status = 'SUCCEEDED'")
        return runs.where(F.col("run_id") != self.run_id)

    def record_run(self, run: DataFrame) -> None:
        """Write the one row that publishes (or reports) this run; grain: run_id."""
        row = run.select(*TABLES["runs"].column_names)
        row.writeTo(self.name("runs")).overwrite(F.col("run_id") == self.run_id)

    def _apply(self, spec: Table, changes: DataFrame, before: Commit) -> bool:
        """Insert, update and delete rows; whether there were any. changes: of rows since `before`.

        New rows are appended, and files are rewritten for the others alone, as a MERGE that may
        insert moves and sorts all rows of these files, however few change.
        """
        counted = changes.groupBy(_CHANGE).count().collect()
        number: dict[str, int] = {row[_CHANGE]: row["count"] for row in counted}
        num_new = number.pop(_INSERT, 0)
        num_others = sum(number.values())
        if num_new:
            new = changes.where(F.col(_CHANGE) == _INSERT).select(*spec.column_names)
            self._append(spec.name, new.hint("rebalance"), before)  # in few files
        if num_others:
            columns: dict[str, str | Column] = {
                f"`{name}`": f"source.`{name}`" for name in spec.column_names
            }
            others = changes.where(F.col(_CHANGE) != _INSERT)
            if num_others <= _FEW_CHANGES:
                others = F.broadcast(others)  # else all rows of the files are moved and sorted
            (
                DeltaTable.forName(self._spark, self.name(spec.name))
                .alias("target")
                .merge(others.alias("source"), _same_key(spec))
                .whenMatchedDelete(f"source.{_CHANGE} = '{_DELETE}'")
                .whenMatchedUpdate(set=columns)
                .execute()
            )
        return num_new + num_others > 0

    def _append(self, table: str, rows: DataFrame, before: Commit) -> None:
        """Add rows that were not in the table at a commit."""
        # Appends conflict with nothing. Of two after the same commit Delta takes only one where
        # they are marked so; it forgets no mark, not even in a clone, hence times, not versions.
        mark = {"txnAppId": "crowdfm", "txnVersion": str(before.millis)}
        rows.writeTo(self.name(table)).options(**mark).append()

    def _at(self, table: str, version: int) -> DataFrame:
        return self._spark.sql(f"SELECT * FROM {self.name(table)} VERSION AS OF {version}")

    def _unchanged(self, table: str) -> Commit:
        """What was compared; RunError when another run has written to the table since."""
        compared = self._compared[table]
        return self._commits(table).own(compared) or compared

    def _newest_after(self, table: str, run: Row) -> Commit:
        return self._commits(table).newest_after(run["output_versions"][table], run["finished_at"])

    def _feed(self, table: str, first: int, last: int) -> DataFrame:
        """Rows that were inserted, updated or deleted from one version to another, inclusive."""
        versions = {"startingVersion": first, "endingVersion": last}
        return self._spark.read.options(readChangeFeed="true", **versions).table(self.name(table))

    def _commits(self, table: str) -> Commits:
        return Commits(self._spark, self.name(table), self._metadata)

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
    """Rows that are new, differ or are no more, with what to do (_CHANGE); grain: the table's
    key."""
    compared = [column for column in spec.columns if column.name not in (*spec.key, *spec.volatile)]
    # Joined by a hash of the key first, as sorting compares numbers faster than text. Values are
    # put side by side after rows have moved, and move once.
    key = {_KEY_HASH: F.xxhash64(*spec.key)}
    before = present.select(
        *spec.key, F.struct(*(column.name for column in compared)).alias("before")
    ).withColumns(key)
    after = rows.withColumns({**key, "is_after": F.lit(True)})
    differs = ~_struct_of(compared, "before.").eqNullSafe(_struct_of(compared))
    change = (
        F.when(F.col("is_after").isNull(), _DELETE)
        .when(F.col("before").isNull(), _INSERT)
        .when(differs, _UPDATE)
    )
    return (
        before.join(after, [_KEY_HASH, *spec.key], "full_outer")
        .withColumn(_CHANGE, change)
        .where(F.col(_CHANGE).isNotNull())
        .select(*spec.column_names, _CHANGE)
    )


def _struct_of(columns: Sequence[TableColumn], place: str = "") -> Column:
    return F.struct(*(_comparable(f"{place}{column.name}", column.type) for column in columns))


def _same_key(spec: Table) -> str:
    return " AND ".join(f"target.`{key}` = source.`{key}`" for key in spec.key)


def _comparable(name: str, kind: str) -> Column:
    """Maps cannot be compared; their sorted entries can."""
    return F.sort_array(F.map_entries(name)) if kind.startswith("map<") else F.col(name)
