"""What a run did, for people and for machines."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["PROBABLE", "RunSummary"]

PROBABLE = 0.9  # from this probability on a label counts as probable


@dataclass
class RunSummary:
    """Counts, phase times and places of one run; times are wall seconds."""

    run_id: str
    dry_run: bool
    input: str
    input_version: int | None = None
    rows_read: int = 0
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> rows
    rows_rejected: int = 0
    rows_superseded: int = 0
    annotations: int = 0
    gold_labels: int | None = None  # tasks with known truth; None where no gold is configured
    gold_rows_rejected: int = 0
    projects: int = 0
    projects_changed: int | None = None  # came and gone ones too; None: all were computed
    kept_run_id: str | None = None  # run whose results of the other projects were kept
    components: int = 0
    tasks: int = 0
    workers: int = 0
    largest_component: int = 0  # annotations
    labelled: dict[str, int] = field(default_factory=dict)  # method -> tasks
    probable: dict[str, int] = field(default_factory=dict)  # method -> tasks, see PROBABLE
    ties: dict[str, int] = field(default_factory=dict)  # method -> tasks
    problems: dict[str, int] = field(default_factory=dict)  # method -> projects without labels
    assigned_tasks: int | None = None  # None where no assignments are configured
    phase_seconds: dict[str, float] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)  # table -> its name in SQL
    versions: dict[str, int] = field(default_factory=dict)  # table -> Delta version

    def counts(self) -> dict[str, int]:
        """Return the counts that go into the runs table."""
        names = (
            "rows_read",
            "rows_rejected",
            "rows_superseded",
            "annotations",
            "projects",
            "components",
            "tasks",
            "workers",
        )
        counts = {name: getattr(self, name) for name in names}
        if self.projects_changed is not None:
            counts["projects_changed"] = self.projects_changed
        if self.gold_labels is not None:
            counts["gold_labels"] = self.gold_labels
            counts["gold_rows_rejected"] = self.gold_rows_rejected
        if self.assigned_tasks is not None:
            counts["assigned_tasks"] = self.assigned_tasks
        return counts

    def to_json(self) -> str:
        """Return everything as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def count_rejected(self, reasons: Sequence[str], rows: int) -> None:
        """Add input rows that were rejected for all of `reasons`."""
        self.rows_rejected += rows
        for reason in reasons:
            self.rejected[reason] = self.rejected.get(reason, 0) + rows

    def to_text(self, sql_command: str | None = None) -> str:
        """Return what a person wants to see at the end of a run.

        sql_command: how to run the query that is shown; None where it depends on the place.
        """
        did = "would label" if self.dry_run else "labelled"
        lines = [
            f"CrowdFM {did} {self.tasks:,} tasks of {self.projects:,} projects"
            f"{' (dry run, nothing was written)' if self.dry_run else ''}",
            f"run {self.run_id}",
            "",
        ]
        lines += _block("input", self._input_lines())
        lines += _block("graph", self._graph_lines())
        lines += _block("labels", self._label_lines())
        lines += _block("seconds", self._phase_lines())
        if self.versions:
            width = max(map(len, self.tables))
            tables = [
                f"{name:{width}}  {self.tables[name]}"
                f"{f' VERSION AS OF {self.versions[name]}' if name in self.versions else ''}"
                for name in sorted(self.tables)
            ]
            lines += ["Tables", *(f"  {line}" for line in tables), ""]
            lines += ["Where the model is least certain:", *self._query_lines(sql_command)]
        return "\n".join(lines).rstrip()

    def _input_lines(self) -> list[str]:
        version = "" if self.input_version is None else f", version {self.input_version}"
        reasons = sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))
        lines = [
            f"{self.rows_read:>11,}  rows of {self.input}{version}",
            f"{self.rows_rejected:>11,}  rejected{_share(self.rows_rejected, self.rows_read)}",
            *(f"{count:>11,}    {reason}" for reason, count in reasons),
            f"{self.rows_superseded:>11,}  superseded by another answer of the worker to the task",
        ]
        lines.append(f"{self.annotations:>11,}  annotations")
        if self.gold_labels is not None:
            rejected = f" ({self.gold_rows_rejected:,} rows rejected)"
            lines.append(f"{self.gold_labels:>11,}  tasks with known truth{rejected}")
        return lines

    def _graph_lines(self) -> list[str]:
        return [
            f"{self.tasks:>11,}  tasks",
            f"{self.workers:>11,}  workers",
            f"{self.projects:>11,}  projects{self._kept()}",
            f"{self.components:>11,}  components, the largest with {self.largest_component:,} "
            "annotations",
        ]

    def _kept(self) -> str:
        if self.projects_changed is None:
            return ""
        since = f"since run {self.kept_run_id}"
        return f"; {self.projects_changed:,} changed, came or went {since}, the others are kept"

    def _label_lines(self) -> list[str]:
        lines = [self._method_line(method) for method in sorted(self.labelled)]
        if self.assigned_tasks is not None:
            lines.append(f"{self.assigned_tasks:>11,}  doubtful tasks assigned to workers")
        return lines

    def _method_line(self, method: str) -> str:
        tasks, probable, ties = self.labelled[method], self.probable[method], self.ties[method]
        problems = self.problems.get(method, 0)
        return (
            f"{tasks:>11,}  {method}: {probable:,} with probability >= {PROBABLE}"
            f"{_share(probable, tasks)}, {ties:,} ties"
            f"{f'; {problems:,} projects without, see method_fits' if problems else ''}"
        )

    def _phase_lines(self) -> list[str]:
        longest = max(self.phase_seconds.values(), default=0.0) or 1.0
        bars = [
            f"{seconds:>11,.1f}  {name:<14} {'#' * round(30 * seconds / longest)}".rstrip()
            for name, seconds in self.phase_seconds.items()
        ]
        return [*bars, f"{sum(self.phase_seconds.values()):>11,.1f}  in all"]

    def _query_lines(self, sql_command: str | None) -> list[str]:
        query = (
            "SELECT project_id, task_id, label, runner_up_label, probability, num_annotations\n"
            f"  FROM {self.tables['aggregated_labels']}\n"
            '  WHERE method = "crowdfm" ORDER BY probability LIMIT 10'
        )
        return [query if sql_command is None else f"{sql_command} {shlex.quote(query)}"]


def _block(title: str, lines: list[str]) -> list[str]:
    """Lines under a title that stands beside the first one, and an empty line; nothing of none."""
    if not lines:
        return []
    titles = [title, *[""] * (len(lines) - 1)]
    return [f"  {name:<8}{line}" for name, line in zip(titles, lines, strict=True)] + [""]


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""
