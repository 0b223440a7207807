"""The Delta tables of a run: columns with their meaning, keys, and constraints.

Grain, words and columns are those of the design; a column that a method does not have is null.
"""

from __future__ import annotations

from jobs.quality_schemas import GOLD_TABLES, QUALITY_TABLES
from jobs.table_spec import (
    COMPONENT,
    METHOD,
    PROJECT,
    RUN,
    TASK,
    UPDATED,
    WORKER,
    Column,
    Table,
    key,
    share,
    within_unit,
)

__all__ = ["GOLD_TABLES", "QUALITY_TABLES", "TABLES", "Column", "Table"]

_RESULTS = (
    Table(
        "annotations",
        "Accepted answers, one per project, task and worker after the duplicate rule",
        ("project_id", "task_id", "worker_id"),
        (
            PROJECT,
            TASK,
            WORKER,
            Column("label", "string", "the answer given", required=True),
            Column("annotated_at", "timestamp", "when it was given, UTC; null if unknown"),
            Column("source", "string", "input.source of the configuration"),
            Column("ingested_at", "timestamp", "when this row last changed, UTC", required=True),
            RUN,
        ),
        volatile=("ingested_at", "run_id"),
        cluster_by=("project_id", "task_id"),
    ),
    Table(
        "rejected_annotations",
        "Input rows of the latest run that were not used, with all reasons",
        (),
        (
            Column("project_id", "string", "as it came, text"),
            Column("task_id", "string", "as it came, text"),
            Column("worker_id", "string", "as it came, text"),
            Column("label", "string", "as it came, text"),
            Column("annotated_at", "string", "as it came, text"),
            Column("raw_record", "string", "the whole row as JSON, or the text of a broken line"),
            Column("reasons", "array<string>", "everything that is wrong with the row", True),
            Column("source_file", "string", "file the row was read from"),
            RUN,
        ),
    ),
    Table(
        "components",
        "Connected parts of the projects",
        ("project_id", "component_id"),
        (
            PROJECT,
            key("component_id", "hash of the smallest task_id; the same from run to run"),
            Column("num_tasks", "bigint", "tasks", required=True),
            Column("num_workers", "bigint", "workers", required=True),
            Column("num_annotations", "bigint", "annotations", required=True),
            Column("num_options", "bigint", "options answered in this component", required=True),
        ),
        cluster_by=("project_id",),
    ),
    Table(
        "aggregated_labels",
        "One inferred label per task and method",
        ("project_id", "task_id", "method"),
        (
            PROJECT,
            TASK,
            METHOD,
            Column("label", "string", "the inferred answer", required=True),
            share("probability", "probability of the label, null where a method has none"),
            Column(
                "probabilities",
                "map<string, double>",
                "option -> probability, at most output.max_probabilities of the most probable",
            ),
            Column("runner_up_label", "string", "second most probable option, null without one"),
            share("margin", "probability of the label minus that of the runner-up"),
            Column("entropy", "double", "of all probabilities, in nats, >= 0"),
            Column("num_annotations", "bigint", "answers of the task", required=True),
            share("agreement", "share of the answers equal to the label (of num_annotations)"),
            Column("is_tie", "boolean", "the two most probable options are equally probable", True),
            Column("difficulty", "double", "crowdfm only: grows with hardness, 3PL scale"),
            COMPONENT,
            RUN,
            UPDATED,
        ),
        volatile=("run_id", "updated_at"),
        checks=within_unit("probability", "margin", "agreement"),
        cluster_by=("project_id", "method", "task_id"),
    ),
    Table(
        "worker_scores",
        "One row per worker and method",
        ("project_id", "worker_id", "method"),
        (
            PROJECT,
            WORKER,
            METHOD,
            Column(
                "score",
                "double",
                "grows with quality, on a scale of the method (`crowdfm methods`); crowdfm: "
                "expected_accuracy, majority_vote: agreement_with_aggregate",
            ),
            Column("ability", "double", "crowdfm only: latent ability on the 3PL scale"),
            share("expected_accuracy", "mean probability of the answers given"),
            share("agreement_with_aggregate", "share of answers equal to the label"),
            Column("num_annotations", "bigint", "answers of the worker", required=True),
            Column("num_tasks", "bigint", "tasks answered by the worker", required=True),
            share(
                "spam_score",
                "of the first method: distance of the worker from one who does not look at the "
                "task, 0 a spammer, see worker_quality; else, and without quality, null",
            ),
            COMPONENT,
            RUN,
            UPDATED,
        ),
        volatile=("run_id", "updated_at"),
        checks=within_unit("expected_accuracy", "agreement_with_aggregate", "spam_score"),
        cluster_by=("project_id", "method", "worker_id"),
    ),
    Table(
        "method_fits",
        "What became of each classical method on each project",
        ("project_id", "method"),
        (
            PROJECT,
            METHOD,
            Column("problem", "string", "why there are no labels; null where there are"),
            Column("iterations", "bigint", "iterations until the method ended"),
            Column("converged", "boolean", "ended by its own rule, not by the limit"),
            RUN,
            UPDATED,
        ),
        volatile=("run_id", "updated_at"),
    ),
    Table(
        "assignments",
        "Who should answer a doubtful task next: workers of its component, best first",
        ("project_id", "task_id", "rank"),
        (
            PROJECT,
            TASK,
            Column("rank", "int", "1 is the most compatible of those who did not answer", True),
            Column("worker_id", "string", "worker, unique within the project", required=True),
            share("compatibility", "probability that the worker answers the task rightly"),
            RUN,
            UPDATED,
        ),
        volatile=("run_id", "updated_at"),
        checks=within_unit("compatibility"),
        cluster_by=("project_id", "task_id"),
    ),
    Table(
        "runs",
        "One row per run; only tables of a SUCCEEDED run, at the versions it names, are published",
        ("run_id",),
        (
            key("run_id", "the run"),
            Column("status", "string", "SUCCEEDED or FAILED", required=True),
            Column("started_at", "timestamp", "UTC", required=True),
            Column("finished_at", "timestamp", "UTC", required=True),
            Column("phase_seconds", "map<string, double>", "wall time per phase, in seconds"),
            Column("input_table", "string", "what was read"),
            Column(
                "input_table_id", "string", "what Delta calls the table that was read, else null"
            ),
            Column("input_version", "bigint", "Delta version that was read, else null"),
            Column("output_versions", "map<string, bigint>", "table -> Delta version to read"),
            Column("counts", "map<string, bigint>", "rows read, rejected, written, ..."),
            Column("config_sha256", "string", "of the resolved configuration"),
            Column("config", "string", "the resolved configuration as JSON"),
            Column("weights_sha256", "string", "of the frozen weights"),
            Column("code_sha256", "string", "of the code, the libraries and the form of the model"),
            Column(
                "kept_run_id",
                "string",
                "run whose results of projects without changes were kept; null: all were computed",
            ),
            Column("error", "string", "of a FAILED run"),
        ),
        checks={"known_status": "status IN ('SUCCEEDED', 'FAILED')"},
    ),
)

TABLES = {table.name: table for table in (*_RESULTS, *GOLD_TABLES, *QUALITY_TABLES)}
