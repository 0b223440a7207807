"""Reads a source (Delta, Parquet, CSV or JSON lines) into one shape, everything as text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import reduce

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, StructType, TimestampType

from crowdfm_core.config import SourceConfig
from crowdfm_core.errors import InputError
from jobs.input_files import (
    MALFORMED,
    SOURCE_FILE,
    InputParts,
    list_files,
    open_csv,
    open_parquet,
    quoted,
)
from jobs.spark_errors import SPARK_ERRORS, reason_of

__all__ = ["input_fingerprint", "input_table_id", "input_version", "read_changes", "read_rows"]

_TIME_TRAVEL = {"versionAsOf", "timestampAsOf"}


def read_rows(
    spark: SparkSession, config: SourceConfig, *, version: int | None = None
) -> DataFrame:
    """Return one row per input row; nothing is dropped and nothing is parsed yet.

    Columns: the fields of config.columns, such as task_id (text, as they came; a floating number
    without fraction loses its ".0"), typed_time (annotated_at where the source has it as a
    timestamp, else null), raw_record (the whole row as JSON, or the text of a line that could not
    be parsed), read_problem (null, malformed_row or unreadable_file), and source_file (null for
    catalog tables). A Parquet file without a sound footer is one row.
    version: the Delta version to read, so that every pass over the input sees the same rows.
    Raises InputError when the table cannot be opened or a mapped column is not in it.
    """
    key, where = config.key, config.path or config.table or ""
    try:
        parts = _open(spark, config, version)
    except SPARK_ERRORS as error:
        raise InputError(
            f"{key} {where}: cannot be read as {config.format} ({reason_of(error)}); check "
            f"{key}.path, {key}.table and {key}.format"
        ) from error
    _check_columns(config, parts.columns, where)
    rows = [_in_one_shape(frame, config) for frame in parts.frames]
    if parts.unreadable:
        files = spark.createDataFrame([(file,) for file in parts.unreadable], "source_file string")
        rows.append(files.withColumn("read_problem", F.lit("unreadable_file")))
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), rows)


def read_changes(spark: SparkSession, config: SourceConfig, after: int, version: int) -> DataFrame:
    """Return rows that came to a Delta table or left it after one version, up to another.

    Columns: as of read_rows; source_file is null. It, or what computes it, fails with an error of
    Spark's where the table has no change data feed of these versions.
    """
    feed = {"startingVersion": after + 1, "endingVersion": version}
    reader = spark.read.options(**config.options).options(readChangeFeed="true", **feed)
    is_path = config.path is not None
    rows = reader.format("delta").load(config.path) if is_path else reader.table(config.table or "")
    return _in_one_shape(_without_file(rows), config)


def input_version(spark: SparkSession, config: SourceConfig) -> int | None:
    """Return the Delta version that is to be read, or None where that cannot be said.

    It is the newest, unless input.options asks for a version or a time. Tables of other formats
    have none.
    """
    if _TIME_TRAVEL & config.options.keys():
        version = config.options.get("versionAsOf")
        return None if version is None else int(version)
    table = _delta_table(spark, config)
    newest = table.history(1).select("version").first() if table is not None else None
    return int(newest["version"]) if newest is not None else None


def input_table_id(spark: SparkSession, config: SourceConfig) -> str | None:
    """Return what Delta calls the table, another one if it is made anew in its place; or None."""
    table = _delta_table(spark, config)
    described = table.detail().select("id").first() if table is not None else None
    return described["id"] if described is not None else None


def input_fingerprint(spark: SparkSession, config: SourceConfig) -> tuple[int, int] | None:
    """Return the number of input files and a hash of their names, sizes and times of change.

    None for tables, of which one version is read, and where files cannot be listed.
    """
    if config.path is None or config.format == "delta":
        return None
    hashes = F.xxhash64("path", "length", "modificationTime")
    try:
        found = (
            list_files(spark, config)
            .agg(F.count("*").alias("files"), F.coalesce(F.bit_xor(hashes), F.lit(0)).alias("hash"))
            .first()
        )
    except SPARK_ERRORS:  # reading them says what is wrong
        return None
    assert found is not None  # a global aggregation has one row
    return int(found["files"]), int(found["hash"])


def _open(spark: SparkSession, config: SourceConfig, version: int | None) -> InputParts:
    if config.path is not None and config.format == "csv":
        return open_csv(spark, config)
    if config.path is not None and config.format == "parquet":
        mapped = [name for name in vars(config.columns).values() if name is not None]
        return open_parquet(spark, config, mapped)
    reader = spark.read.options(**config.options)
    if version is not None and not _TIME_TRAVEL & config.options.keys():
        reader = reader.option("versionAsOf", version)
    if config.table is not None:
        return InputParts([_without_file(reader.table(config.table))])
    if config.format == "json":
        options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": MALFORMED}
        reader = reader.options(primitivesAsString="true", **options)
    rows = reader.format(config.format).load(config.path)
    return InputParts([rows.withColumn(SOURCE_FILE, F.col("_metadata.file_path"))])


def _delta_table(spark: SparkSession, config: SourceConfig) -> DeltaTable | None:
    try:
        if config.path is not None:
            return DeltaTable.forPath(spark, config.path) if config.format == "delta" else None
        return DeltaTable.forName(spark, config.table or "")
    except SPARK_ERRORS:  # not a Delta table, or not there: reading it says which
        return None


def _without_file(rows: DataFrame) -> DataFrame:
    return rows.withColumn(SOURCE_FILE, F.lit(None).cast("string"))


def _in_one_shape(rows: DataFrame, config: SourceConfig) -> DataFrame:
    """Return the columns of read_rows, of one part of the source."""
    own = [name for name in rows.columns if name not in (MALFORMED, SOURCE_FILE)]
    record = F.to_json(F.struct(*(F.col(quoted(name)) for name in own)))
    problem = F.lit(None).cast("string")
    if MALFORMED in rows.columns:
        record = F.coalesce(F.col(MALFORMED), record)
        problem = F.when(F.col(MALFORMED).isNotNull(), F.lit("malformed_row"))
    return rows.select(
        *(_text(rows.schema, name, role, config) for role, name in vars(config.columns).items()),
        _typed_time(rows.schema, vars(config.columns).get("annotated_at")),
        record.alias("raw_record"),
        problem.alias("read_problem"),
        F.col(SOURCE_FILE).alias("source_file"),
    )


def _check_columns(config: SourceConfig, present: Sequence[str], where: str) -> None:
    if not present:
        raise InputError(
            f"{config.key} {where}: has no columns; expected at least one row or a header"
        )
    problems = []
    for role, name in vars(config.columns).items():
        if name is not None and name not in present:
            close = difflib.get_close_matches(name, present, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"{config.key}.columns.{role}: no column {name!r}{hint}")
    if problems:
        raise InputError(
            f"{config.key} {where}: {'; '.join(problems)}; its columns are {', '.join(present)}"
        )


def _text(schema: StructType, source: str | None, role: str, config: SourceConfig) -> Column:
    if source is None or source not in schema.names:  # files may lack what others have
        value = config.default_project if source is None and role == "project_id" else None
        return F.lit(value).cast("string").alias(role)
    column = F.col(quoted(source))
    kind = schema[source].dataType
    if isinstance(kind, (DoubleType, FloatType)):
        # A column of whole numbers becomes floating as soon as one of them is missing.
        whole = (column == F.floor(column)) & (F.abs(column) < 2**53)
        column = F.when(whole, column.cast("bigint").cast("string")).otherwise(
            column.cast("string")
        )
    elif isinstance(kind, TimestampType):
        column = F.date_format(column, "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX")
    return column.cast("string").alias(role)


def _typed_time(schema: StructType, source: str | None) -> Column:
    """A time that was read need not be written out as text, and be parsed again, in every row."""
    column = F.lit(None)
    if source in schema.names and isinstance(schema[str(source)].dataType, TimestampType):
        column = F.col(quoted(str(source)))
    return column.cast("timestamp").alias("typed_time")
