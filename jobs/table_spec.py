"""How a table is described: columns with their meaning, keys and constraints."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "COMPONENT",
    "METHOD",
    "PROJECT",
    "RUN",
    "TASK",
    "UPDATED",
    "WITHIN_UNIT",
    "WORKER",
    "Column",
    "Table",
    "key",
    "quoted",
    "share",
    "within_unit",
]


@dataclass(frozen=True)
class Column:
    """One column: SQL type and what it means."""

    name: str
    type: str
    comment: str
    required: bool = False


@dataclass(frozen=True)
class Table:
    """One table; `key` columns identify a row, `volatile` ones never make a row count as changed.

    checks: name -> SQL condition that every row must meet. cluster_by: at most four columns.
    """

    name: str
    comment: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    volatile: tuple[str, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)
    cluster_by: tuple[str, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns in order."""
        return tuple(column.name for column in self.columns)

    @property
    def is_history(self) -> bool:
        """Whether the table keeps rows of every run."""
        return "run_id" in self.key

    @property
    def schema(self) -> str:
        """Names and types of the columns, as createDataFrame takes them."""
        return ", ".join(f"{column.name} {column.type}" for column in self.columns)

    @property
    def skipping_columns(self) -> tuple[str, ...]:
        """Columns by which readers may skip files: those that say where a row lies in the table,
        and when it was written. Of others a file holds nearly all values."""
        return (*(self.cluster_by or self.key), *self.volatile)

    @property
    def ddl(self) -> str:
        """Column definitions for CREATE TABLE."""
        return ", ".join(
            f"`{column.name}` {column.type}{' NOT NULL' if column.required else ''} "
            f"COMMENT '{quoted(column.comment)}'"
            for column in self.columns
        )


def quoted(text: str) -> str:
    """Return what stands between the quotes of an SQL string."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def key(name: str, comment: str) -> Column:
    """A text column that is part of a table's key."""
    return Column(name, "string", comment, required=True)


PROJECT = key("project_id", "tasks that share one option set")
TASK = key("task_id", "task, unique within its project")
WORKER = key("worker_id", "worker, unique within the project")
METHOD = key("method", "aggregation method, such as crowdfm or majority_vote")
COMPONENT = Column(
    "component_id", "string", "connected part of the project; the same from run to run"
)
RUN = Column("run_id", "string", "run that last changed this row", required=True)
UPDATED = Column("updated_at", "timestamp", "when this row last changed, UTC", required=True)


def share(name: str, comment: str) -> Column:
    """A column of shares or probabilities; see within_unit."""
    return Column(name, "double", f"{comment}; in [0, 1]")


WITHIN_UNIT = "_in_unit_interval"  # ends the names of these checks


def within_unit(*names: str) -> dict[str, str]:
    """Checks that columns lie in [0, 1] where they are known."""
    # Averages of probabilities may exceed 1 by rounding.
    return {
        f"{name}{WITHIN_UNIT}": f"{name} IS NULL OR {name} BETWEEN 0 AND 1.000001" for name in names
    }
