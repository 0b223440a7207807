"""What a run did, for people and for machines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

__all__ = ["RunSummary"]


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
    projects: int = 0
    components: int = 0
    tasks: int = 0
    workers: int = 0
    ties: dict[str, int] = field(default_factory=dict)  # method -> tasks
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
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """Return everything as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def to_text(self) -> str:
        """Return what a person wants to see at the end of a run."""
        title = "dry run, nothing written" if self.dry_run else "done"
        lines = [f"CrowdFM run {self.run_id}: {title}", ""]
        version = "" if self.input_version is None else f" (version {self.input_version})"
        facts: list[tuple[str, str]] = [
            ("input", f"{self.rows_read:,} rows from {self.input}{version}"),
            ("rejected", f"{self.rows_rejected:,} rows"),
            *(("", f"{count:>9,}  {reason}") for reason, count in sorted(self.rejected.items())),
            (
                "superseded",
                f"{self.rows_superseded:,} earlier answers of a worker to the same task",
            ),
            ("projects", f"{self.projects:,} in {self.components:,} components"),
            ("labelled", f"{self.tasks:,} tasks, from {self.annotations:,} annotations"),
            ("scored", f"{self.workers:,} workers"),
            *(
                ("ties", f"{count:,} tasks by {method}")
                for method, count in sorted(self.ties.items())
            ),
            ("seconds", self._phases()),
        ]
        lines += [f"  {name:<11} {value}" for name, value in facts]
        if self.tables:
            lines += ["", "Tables"]
            lines += [f"  {self.tables[name]}" for name in sorted(self.tables)]
            lines += ["", "Try, in Spark SQL with Delta:", self._query()]
        return "\n".join(lines)

    def _phases(self) -> str:
        parts = [f"{name} {seconds:.1f}" for name, seconds in self.phase_seconds.items()]
        return f"{sum(self.phase_seconds.values()):.1f} ({', '.join(parts)})"

    def _query(self) -> str:
        return (
            "  SELECT project_id, task_id, label, probability, num_annotations\n"
            f"  FROM {self.tables['aggregated_labels']}\n"
            "  WHERE method = 'crowdfm' AND NOT is_tie ORDER BY probability LIMIT 20"
        )
