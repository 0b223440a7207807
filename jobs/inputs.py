"""Reads annotations from Delta, Parquet, CSV or JSON lines into one shape, everything as text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, StringType, StructType, TimestampType

from crowdfm_core.config import InputConfig
from crowdfm_core.errors import InputError
from udfs.parquet_footers import without_sound_footer

__all__ = ["RAW_COLUMNS", "input_version", "read_annotations"]

_CORRUPT = "_malformed_row"
RAW_COLUMNS = ("project_id", "task_id", "worker_id", "label", "annotated_at")


def read_annotations(
    spark: SparkSession, config: InputConfig, *, version: int | None = None
) -> DataFrame:
    """Return one row per input row; nothing is dropped and nothing is parsed yet.

    Columns: project_id, task_id, worker_id, label, annotated_at (text, as they came; a floating
    number without fraction loses its ".0"), raw_record (the whole row as JSON, or the text of a
    line that could not be parsed), read_problem (null, malformed_row or unreadable_file), and
    source_file (null for catalog tables). A Parquet file without a sound footer is one row.
    version: the Delta version to read, so that every pass over the input sees the same rows.
    Raises InputError when the table cannot be opened or a mapped column is not in it.
    """
    where = config.path or config.table or ""
    try:
        unreadable = _unreadable_files(spark, config)
        rows = _open(spark, config, without=unreadable, version=version)
        columns = rows.columns
    except PySparkException as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"input {where}: cannot be read as {config.format} ({reason}); check input.path, "
            "input.table and input.format"
        ) from error
    _check_columns(config, columns, where)
    malformed = F.col(_CORRUPT).isNotNull() if _CORRUPT in columns else F.lit(False)
    problem = F.when(malformed, F.lit("malformed_row"))
    record = F.to_json(F.struct(*(F.col(f"`{_escaped(name)}`") for name in columns)))
    if _CORRUPT in columns:
        record = F.coalesce(F.col(_CORRUPT), record)
    named = config.columns
    sources = {
        "project_id": named.project_id,
        "task_id": named.task_id,
        "worker_id": named.worker_id,
        "label": named.label,
        "annotated_at": named.annotated_at,
    }
    readable = rows.select(
        *(_text(rows.schema, source, role, config) for role, source in sources.items()),
        record.alias("raw_record"),
        problem.alias("read_problem"),
        (F.col("_metadata.file_path") if config.path else F.lit(None).cast("string")).alias(
            "source_file"
        ),
    )
    if not unreadable:
        return readable
    files = spark.createDataFrame([(file,) for file in unreadable], "source_file string")
    problem = F.lit("unreadable_file").alias("read_problem")
    return readable.unionByName(files.select("source_file", problem), allowMissingColumns=True)


def input_version(spark: SparkSession, config: InputConfig) -> int | None:
    """Return the newest Delta version of the input, or None where it is not a Delta table."""
    try:
        if config.path is not None:
            table = DeltaTable.forPath(spark, config.path) if config.format == "delta" else None
        else:
            table = DeltaTable.forName(spark, config.table or "")
    except PySparkException:  # not a Delta table, or not there: reading it says which
        return None
    newest = table.history(1).select("version").first() if table is not None else None
    return int(newest["version"]) if newest is not None else None


def _unreadable_files(spark: SparkSession, config: InputConfig) -> list[str]:
    """Parquet files without a sound footer, in order; executors look, one file at a time."""
    if config.format != "parquet" or config.path is None:
        return []
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(config.path)
    named = files.where("path RLIKE '\\\\.parquet$' OR path RLIKE '\\\\.parq$'").select("path")
    found = named.mapInArrow(without_sound_footer, "path string")
    return sorted(row["path"] for row in found.collect())


def _open(
    spark: SparkSession, config: InputConfig, *, without: Sequence[str], version: int | None
) -> DataFrame:
    pinned = {} if version is None else {"versionAsOf": str(version)}
    if config.table is not None:
        return spark.read.options(**{**pinned, **config.options}).table(config.table)
    assert config.path is not None  # the configuration has exactly one of both
    if without:
        files = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        sound = files.load(config.path).select("path").where(~F.col("path").isin(list(without)))
        paths = [row["path"] for row in sound.collect()]
        if not paths:
            raise InputError(f"input {config.path}: none of its {len(without)} files is readable")
        # Named one by one, so that damage elsewhere is still an error and not ignored.
        options = {"basePath": config.path, **config.options}
        return spark.read.format("parquet").options(**options).load(paths)
    if config.format in ("delta", "parquet"):
        reader = spark.read.format(config.format)
        return reader.options(**{**pinned, **config.options}).load(config.path)
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    if config.format == "json":
        options["primitivesAsString"] = "true"
        reader = spark.read.format("json").options(**options | config.options)
        return reader.load(config.path)
    options |= {"header": "true", "multiLine": "true", "escape": '"'}
    options |= config.options
    reader = spark.read.format("csv").options(**options)
    # Spark fills the column of malformed rows only when the schema names it.
    schema = StructType(reader.load(config.path).schema.fields)
    return reader.schema(schema.add(_CORRUPT, StringType())).load(config.path)


def _check_columns(config: InputConfig, present: Sequence[str], where: str) -> None:
    wanted = {role: getattr(config.columns, role) for role in RAW_COLUMNS}
    problems = []
    for role, name in wanted.items():
        if name is not None and name not in present:
            close = difflib.get_close_matches(name, present, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"input.columns.{role}: no column {name!r}{hint}")
    if problems:
        shown = ", ".join(name for name in present if name != _CORRUPT)
        raise InputError(f"input {where}: {'; '.join(problems)}; its columns are {shown}")


def _text(schema: StructType, source: str | None, role: str, config: InputConfig) -> Column:
    if source is None:
        value = config.default_project if role == "project_id" else None
        return F.lit(value).cast("string").alias(role)
    column = F.col(f"`{_escaped(source)}`")
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


def _escaped(name: str) -> str:
    return name.replace("`", "``")
