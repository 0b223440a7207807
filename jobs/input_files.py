"""Opens the files of a CSV or Parquet input, in as many parts as they have layouts.

Every file is read by its own header or its own types, so that one file which differs from the
others costs neither the run nor, silently, its own meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from crowdfm_core.config import SourceConfig
from crowdfm_core.errors import InputError
from udfs.csv_lines import RECORD_SCHEMA, join_csv_lines
from udfs.parquet_footers import FOOTER_SCHEMA, read_footers

__all__ = [
    "MALFORMED",
    "SOURCE_FILE",
    "InputParts",
    "list_files",
    "open_csv",
    "open_parquet",
    "quoted",
]

MALFORMED = "_malformed_row"  # the text of a row that could not be parsed, else null
SOURCE_FILE = "_source_file"

_CSV_DEFAULTS = {"header": "true", "escape": '"', "quote": '"'}
_MAX_LAYOUTS = 100


@dataclass(frozen=True)
class InputParts:
    """Frames with the columns of the input and SOURCE_FILE, some with MALFORMED.

    unreadable: files that hold no rows that could be read.
    """

    frames: list[DataFrame]
    unreadable: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Names of the input's own columns, in order of appearance."""
        names = dict.fromkeys(name for frame in self.frames for name in frame.columns)
        return [name for name in names if name not in (MALFORMED, SOURCE_FILE)]


def open_csv(spark: SparkSession, config: SourceConfig) -> InputParts:
    """Open CSV files, each by its own header line.

    Files in which every line is a record are read line by line, in splits. In the others, quoted
    fields hold line breaks or quotes never close: their lines are joined to records in order.
    """
    options = {**_CSV_DEFAULTS, **config.options, "mode": "PERMISSIVE", "multiLine": "false"}
    options["columnNameOfCorruptRecord"] = MALFORMED
    # Spark would find damage only in the columns that a query happens to use.
    options["columnPruning"] = "false"
    has_header = options["header"].lower() == "true"
    lines = _lines(spark, [config.path or ""], options)
    partitioning = [name for name in lines.columns if name not in ("value", "file", "place")]
    quote, escape = options["quote"], options["escape"]
    plain = F.replace(F.replace("value", F.lit(escape + escape)), F.lit(escape + quote))
    num_quotes = F.length(plain) - F.length(F.replace(plain, F.lit(quote)))
    files = lines.groupBy("file").agg(
        F.min_by("value", "place").alias("header"),
        F.max(num_quotes % 2 == 1).alias("joined"),
        *(F.first(name).alias(name) for name in partitioning),
    )
    layouts: dict[tuple[str, bool], list[str]] = {}
    for row in files.select("file", "header", "joined").orderBy("file").collect():
        header = row["header"].rstrip("\r") if has_header else ""
        layouts.setdefault((header, row["joined"]), []).append(row["file"])
    if not layouts:
        raise InputError(f"{config.key} {config.path}: expected CSV files, found no line of text")
    if len(layouts) > _MAX_LAYOUTS:
        raise InputError(
            f"{config.key} {config.path}: expected files with the same header line, found more "
            f"than {_MAX_LAYOUTS} different ones; {config.key}.options header: 'false' reads files "
            "without any"
        )
    frames = []
    for (_, joined), paths in layouts.items():
        named = [_literal(unquote(path)) for path in paths]
        options |= _base_path(config, paths)
        schema = StructType(spark.read.format("csv").options(**options).load(named).schema.fields)
        schema = schema.add(MALFORMED, StringType())
        if joined:
            records = _joined_records(_lines(spark, named, options), options, has_header)
            own = StructType([field for field in schema.fields if field.name not in partitioning])
            frame = _parsed(records, own, options).join(
                F.broadcast(files.select(F.col("file").alias(SOURCE_FILE), *partitioning)),
                SOURCE_FILE,
            )
        else:
            reader = spark.read.format("csv").options(**options).schema(schema)
            frame = reader.load(named).withColumn(SOURCE_FILE, F.col("_metadata.file_path"))
        frames.append(frame)
    return InputParts(frames)


def _lines(spark: SparkSession, paths: list[str], options: dict[str, str]) -> DataFrame:
    """Lines of text files; columns: value, file, place (orders the lines of a file), partitions."""
    text = spark.read.format("text").options(**{"lineSep": "\n", **options}).load(paths)
    place = F.struct("_metadata.file_block_start", F.monotonically_increasing_id())
    return text.withColumns({"file": F.col("_metadata.file_path"), "place": place})


def _joined_records(lines: DataFrame, options: dict[str, str], has_header: bool) -> DataFrame:
    """Records of whole files, as in RECORD_SCHEMA."""
    join = join_csv_lines(
        delimiter=options.get("sep", options.get("delimiter", ",")),
        quote=options["quote"],
        escape=options["escape"],
        has_header=has_header,
    )
    in_order = lines.repartition("file").sortWithinPartitions("file", "place")
    return in_order.select(F.col("file").alias("source_file"), "value").mapInArrow(
        join, RECORD_SCHEMA
    )


def _parsed(records: DataFrame, schema: StructType, options: dict[str, str]) -> DataFrame:
    """Parse records as the reader of whole files does; what is not intact is malformed."""
    # Options of the file reader that mean nothing for a single record.
    known = {name: value for name, value in options.items() if name not in ("basePath", "header")}
    ddl = ", ".join(f"{quoted(field.name)} {field.dataType.simpleString()}" for field in schema)
    parsed = F.from_csv("record", ddl, known)
    none = F.lit(None).cast("string")
    columns = [
        F.when(F.col("intact"), parsed.getField(field.name))
        .otherwise(F.col("record") if field.name == MALFORMED else none)
        .alias(field.name)
        for field in schema.fields
    ]
    return records.select(*columns, F.col("source_file").alias(SOURCE_FILE))


def open_parquet(spark: SparkSession, config: SourceConfig, wanted: Iterable[str]) -> InputParts:
    """Open Parquet files, in one part per combination of types of the `wanted` columns.

    Files without a sound footer are unreadable; executors look, one file at a time.
    """
    listed = list_files(spark, config).select("path")
    footers = listed.mapInArrow(read_footers(tuple(sorted(wanted))), FOOTER_SCHEMA).collect()
    kinds: dict[str | None, list[str]] = {}
    for row in sorted(footers, key=lambda row: str(row["path"])):
        kinds.setdefault(row["types"], []).append(row["path"])
    unreadable = kinds.pop(None, [])
    if unreadable and not kinds:
        raise InputError(
            f"{config.key} {config.path}: none of its {len(unreadable)} files is readable"
        )
    reader = spark.read.format("parquet").options(**config.options)
    if unreadable or len(kinds) > 1:
        # Named one by one, so that damage elsewhere is still an error and not ignored.
        frames = [
            reader.options(**_base_path(config, paths)).load([_literal(path) for path in paths])
            for paths in kinds.values()
        ]
    else:
        frames = [reader.load(config.path)]
    with_file = [frame.withColumn(SOURCE_FILE, F.col("_metadata.file_path")) for frame in frames]
    return InputParts(with_file, tuple(unreadable))


def list_files(spark: SparkSession, config: SourceConfig) -> DataFrame:
    """Return the files of the input but hidden ones (path, length, modificationTime, content)."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    return reader.load(config.path)


def _base_path(config: SourceConfig, paths: Iterable[str]) -> dict[str, str]:
    """Option that keeps the columns of folders such as project=cats when files are named."""
    root = config.path or ""
    below = [path.rpartition("/")[0].rpartition(root)[2] for path in paths]
    return {"basePath": root} if any("=" in folders for folders in below) else {}


def _literal(path: str) -> str:
    """Name one file to a reader that takes patterns."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", path)


def quoted(name: str) -> str:
    """Write the name of a column, whatever is in it, as Spark SQL reads it."""
    escaped = name.replace("`", "``")
    return f"`{escaped}`"
