"""Reads annotations from Delta, Parquet, CSV or JSON lines into one shape, everything as text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, StringType, StructType, TimestampType

from crowdfm_core.config import InputConfig
from crowdfm_core.errors import InputError

__all__ = ["RAW_COLUMNS", "read_annotations"]

_CORRUPT = "_malformed_row"
RAW_COLUMNS = ("project_id", "task_id", "worker_id", "label", "annotated_at")


def read_annotations(spark: SparkSession, config: InputConfig) -> DataFrame:
    """Return one row per input row; nothing is dropped and nothing is parsed yet.

    Columns: project_id, task_id, worker_id, label, annotated_at (text, as they came; a floating
    number without fraction loses its ".0"), raw_record (the whole row as JSON, or the text of a
    line that could not be parsed), malformed (boolean), source_file (null for catalog tables).
    Raises InputError when the table cannot be opened or a mapped column is not in it.
    """
    where = config.path or config.table or ""
    try:
        rows = _open(spark, config)
        columns = rows.columns
    except PySparkException as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"input {where}: cannot be read as {config.format} ({reason}); check input.path, "
            "input.table and input.format"
        ) from error
    _check_columns(config, columns, where)
    malformed = F.col(_CORRUPT).isNotNull() if _CORRUPT in columns else F.lit(False)
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
    return rows.select(
        *(_text(rows.schema, source, role, config) for role, source in sources.items()),
        record.alias("raw_record"),
        malformed.alias("malformed"),
        (F.col("_metadata.file_path") if config.path else F.lit(None).cast("string")).alias(
            "source_file"
        ),
    )


def _open(spark: SparkSession, config: InputConfig) -> DataFrame:
    if config.table is not None:
        return spark.read.table(config.table)
    assert config.path is not None  # the configuration has exactly one of both
    if config.format in ("delta", "parquet"):
        return spark.read.format(config.format).options(**config.options).load(config.path)
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
