"""Configuration of the nightly job: typed YAML, every problem reported at once.

Relative paths are relative to the current directory. Nothing is read from the environment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.errors import ConfigError
from crowdfm_core.methods.registry import CROWDFM, METHODS
from crowdfm_core.typed_mapping import build, plain_values, read_mapping

__all__ = [
    "ColumnMapping",
    "GoldColumns",
    "GoldConfig",
    "GpuConfig",
    "InputConfig",
    "JobConfig",
    "LoggingConfig",
    "ModelConfig",
    "OutputConfig",
    "ScoringConfig",
    "SourceConfig",
    "SparkConfig",
    "load_config",
]

_METHODS = (CROWDFM.name, *METHODS)
# Methods that Spark SQL can run as well (jobs/steps/methods_sql.py).
_IN_SQL = (
    "dawid_skene",
    "gold_majority_vote",
    "iwmv",
    "naive_soft",
    "one_coin_dawid_skene",
    "pm",
    "twothird",
    "wawa",
    "weighted_dawid_skene",
    "zero_based_skill",
)


@dataclass(frozen=True)
class ColumnMapping:
    """Columns of the input table; without project_id all rows belong to `default_project`."""

    task_id: str = "task"
    worker_id: str = "worker"
    label: str = "label"
    project_id: str | None = None
    annotated_at: str | None = None

    def __post_init__(self) -> None:
        _expect_different(self)


@dataclass(frozen=True)
class GoldColumns:
    """Columns of the gold table; without project_id all rows belong to `default_project`."""

    task_id: str = "task"
    true_label: str = "true_label"
    project_id: str | None = None

    def __post_init__(self) -> None:
        _expect_different(self)


@dataclass(frozen=True)
class SourceConfig:
    """Where rows are read: exactly one of path and table (catalog.schema.name)."""

    key: ClassVar[str]  # of the configuration

    path: str | None = None
    table: str | None = None
    format: Literal["delta", "parquet", "csv", "json"] = "delta"
    columns: ColumnMapping | GoldColumns = field(default_factory=ColumnMapping)
    default_project: str = "default"
    options: dict[str, str] = field(default_factory=dict)  # of Spark's reader

    def __post_init__(self) -> None:
        _expect_one(path=self.path, table=self.table)


@dataclass(frozen=True)
class InputConfig(SourceConfig):
    """Where annotations are read."""

    key: ClassVar[str] = "input"

    columns: ColumnMapping = field(default_factory=ColumnMapping)
    source: str = "lake"  # value of annotations.source


@dataclass(frozen=True)
class GoldConfig(SourceConfig):
    """Where known truth of some tasks is read, and what methods are told of it.

    pin_posteriors: whether methods that fit posteriors take it as given; else gold_majority_vote
    alone uses it. held_out: share of the gold tasks of which no method is told. Quality never
    judges a method by the tasks that it was told of.
    """

    key: ClassVar[str] = "gold"

    columns: GoldColumns = field(default_factory=GoldColumns)
    pin_posteriors: bool = False
    held_out: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect_range("held_out", self.held_out, 0, 1)


@dataclass(frozen=True)
class OutputConfig:
    """Where tables are written: a folder with one Delta table each, or a catalog schema."""

    path: str | None = None
    schema: str | None = None
    max_probabilities: int = 50  # options kept per task in the map of probabilities

    def __post_init__(self) -> None:
        _expect_one(path=self.path, schema=self.schema)
        _expect_range("max_probabilities", self.max_probabilities, 2, 100_000)


@dataclass(frozen=True)
class ModelConfig:
    """Frozen weights (`default`, `fast`, `attention`, or a folder with manifest.json) and draws of
    option vectors that are averaged, where the model has any."""

    weights: str = "default"
    num_draws: int = 4

    def __post_init__(self) -> None:
        _expect_range("num_draws", self.num_draws, 1, 64)


@dataclass(frozen=True)
class ScoringConfig:
    """Budget of one batch, in annotations, and the device.

    max_method_gib: memory that a classical method's arrays may take on one project, per Spark task;
    a larger project gets no labels from the method, and a row in method_fits that says so.
    max_model_gib: memory that the frozen model may take, per Spark task; components that do not fit
    into it together are scored one after another.
    max_annotations_per_block: a component with more is cut into blocks of about so many, which
    Spark scores side by side with the same result; so is one that does not fit into max_model_gib.
    null: never; then such a component fails the run before it is scored.
    block_exchange: how blocks reach each other. direct: all are held in memory, by tasks of one
    stage that run at the same time and are connected to each other; shuffle: over Spark's shuffle,
    one block per task in memory; auto: direct where Spark and max_model_gib allow it.
    """

    max_annotations_per_batch: int = 1_000_000
    max_annotations_per_block: int | None = 4_000_000
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_method_gib: float = 4.0
    max_model_gib: float = 6.0
    block_exchange: Literal["auto", "direct", "shuffle"] = "auto"

    def __post_init__(self) -> None:
        _expect_range("max_annotations_per_batch", self.max_annotations_per_batch, 1, 2**31 - 1)
        if self.max_annotations_per_block is not None:
            _expect_range("max_annotations_per_block", self.max_annotations_per_block, 1, 2**31 - 1)
        _expect_range("max_method_gib", self.max_method_gib, 0, 100_000)
        _expect_range("max_model_gib", self.max_model_gib, 0, 100_000)


@dataclass(frozen=True)
class GpuConfig:
    """GPU resources of executors and of the scoring stage's tasks."""

    discovery_script: str | None = None
    amount_per_executor: int = 1
    amount_per_task: float = 1.0
    cpus_per_task: int = 1

    def __post_init__(self) -> None:
        _expect_range("amount_per_executor", self.amount_per_executor, 1, 64)
        _expect_range("cpus_per_task", self.cpus_per_task, 1, 1024)
        # Spark shares one address between tasks only in fractions of at most a half.
        if not (0 < self.amount_per_task <= 0.5 or self.amount_per_task in range(1, 65)):
            problem = (
                "amount_per_task: expected a whole number or a fraction in (0, 0.5], "
                f"got {self.amount_per_task}"
            )
            raise ConfigError([problem], where="gpu")


@dataclass(frozen=True)
class SparkConfig:
    """Session settings; without a master spark-submit decides."""

    master: str | None = None
    app_name: str = "crowdfm-nightly"
    conf: dict[str, str] = field(default_factory=dict)
    gpu: GpuConfig | None = None


@dataclass(frozen=True)
class LoggingConfig:
    """Level of the project's own loggers."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


@dataclass(frozen=True)
class JobConfig:
    """Everything that one nightly run depends on, apart from its input.

    gold: known truth of some tasks, if there is any.
    methods: any of `crowdfm methods`; each writes labels and worker scores of all projects. The
    first is the reference: quality tables judge tasks and workers by its labels.
    quality: whether tables of quality and thresholds are made; with gold they say how often labels
    are right.
    assignments: tasks whose label crowdfm gives at most max_probability (0.8) are assigned to the
    workers_per_task (3) most compatible workers who have not answered them; null: none are.
    recompute: which projects a run computes: those that changed since the newest published run, or
    all. It is all as well where that run had other weights, code, libraries or settings that
    results depend on.
    engines: method -> arrays (the default, which is faster) or sql, with the same results, for
    lakes with a project that is too large for the memory of one process.
    """

    input: InputConfig
    output: OutputConfig
    gold: GoldConfig | None = None
    duplicates: Literal["latest", "first", "reject"] = "latest"
    methods: tuple[str, ...] = ("crowdfm", "majority_vote")
    quality: bool = True
    assignments: AssignmentRule | None = None
    recompute: Literal["changed", "all"] = "changed"
    engines: dict[str, Literal["arrays", "sql"]] = field(default_factory=dict)
    model: ModelConfig = field(default_factory=ModelConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    spark: SparkConfig = field(default_factory=SparkConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in _METHODS]
        if unknown or not self.methods or len(set(self.methods)) < len(self.methods):
            known = ", ".join(_METHODS)
            problem = f"methods: expected distinct ones of {known}, got {list(self.methods)}"
            raise ConfigError([problem], where="configuration")
        unknown = [method for method in self.engines if method not in _IN_SQL]
        if unknown:
            problem = f"engines: expected some of {', '.join(_IN_SQL)}, got {', '.join(unknown)}"
            raise ConfigError([problem], where="configuration")
        if self.assignments is not None and CROWDFM.name not in self.methods:
            problem = f"assignments: expected crowdfm among methods, got {list(self.methods)}"
            raise ConfigError([problem], where="configuration")

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values, as YAML and JSON have them."""
        mapping: dict[str, Any] = plain_values(asdict(self))
        return mapping

    def sha256(self) -> str:
        """Identify the resolved configuration: equal settings, equal hash."""
        return hashlib.sha256(json.dumps(self.to_mapping(), sort_keys=True).encode()).hexdigest()


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> JobConfig:
    """Read a YAML file, apply `key.sub=value` overrides (values are YAML), and check everything.

    Raises ConfigError with all problems: unknown keys, wrong types, bad ranges, bad overrides.
    """
    problems: list[str] = []
    mapping = read_mapping(Path(path), problems, overrides)
    config = build(JobConfig, mapping, "", problems)
    if problems or config is None:
        raise ConfigError(problems, where=str(path))
    return config


def _expect_different(columns: ColumnMapping | GoldColumns) -> None:
    named = [name for name in asdict(columns).values() if name is not None]
    repeated = sorted({name for name in named if named.count(name) > 1})
    if repeated:
        problem = f"expected a different column for each, got {', '.join(repeated)} repeatedly"
        raise ConfigError([problem], where="columns")


def _expect_one(**choices: str | None) -> None:
    given = [name for name, value in choices.items() if value]
    if len(given) != 1:
        problem = f"expected exactly one of {' and '.join(choices)}, got {given or 'none'}"
        raise ConfigError([problem], where="configuration")


def _expect_range(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError([f"{name}: expected {low} to {high}, got {value}"], where=name)
