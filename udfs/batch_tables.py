"""A batch between Arrow and arrays: rows of annotations in, rows of scores out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crowdfm_core.assignments import RankedWorkers
from crowdfm_core.errors import ScoringError
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch, ScoredTasks, ScoredWorkers
from udfs.groups import changes, ranked

__all__ = [
    "INPUT_COLUMNS",
    "OUTPUT_ROWS",
    "SCORE_SCHEMA",
    "DecodedBatch",
    "TaskNames",
    "assigned_lists",
    "halves",
    "score_table",
    "task_rows",
    "task_table",
    "worker_rows",
    "worker_table",
]

# In any order. Rows without a task_id list the options of the batch's projects, with their labels;
# all others are annotations.
INPUT_COLUMNS = (
    "batch_index",
    "project_id",
    "component_id",
    "task_id",
    "worker_id",
    "option_index",
    "label",
)

_TEXT = ("project_id", "component_id", "task_id", "worker_id", "label", "runner_up_label")
_NUMBERS = (
    "probability",
    "runner_up_probability",
    "entropy",
    "agreement",
    "difficulty",
    "ability",
    "expected_accuracy",
)
_ASSIGNED = pa.struct([("worker_id", pa.string()), ("compatibility", pa.float64())])
_ARROW = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _TEXT),
        *(pa.field(name, pa.float64()) for name in _NUMBERS),
        pa.field("probabilities", pa.map_(pa.string(), pa.float64())),
        pa.field("num_annotations", pa.int64()),
        pa.field("assigned", pa.list_(_ASSIGNED)),
    ]
)

# Grain: one task (worker_id null) or one worker (task_id null) of a project. assigned: workers who
# should answer the task next, best first, where that was asked for.
SCORE_SCHEMA = ", ".join(
    [
        *(f"{name} string" for name in _TEXT),
        *(f"{name} double" for name in _NUMBERS),
        "probabilities map<string, double>",
        "num_annotations bigint",
        "assigned array<struct<worker_id: string, compatibility: double>>",
    ]
)

OUTPUT_ROWS = 10_000  # of a record batch that goes back to Spark

Integers = npt.NDArray[np.integer[Any]]


class DecodedBatch:
    """One batch as index arrays, and the strings that the indices stand for.

    Projects, tasks and workers are numbered in the order of their ids, and the arrays of the
    annotations are sorted by task and worker, so that sums run in the same order however rows
    arrive. They are sorted here, by numbers, as Spark would sort them by text.
    """

    def __init__(self, rows: pa.Table) -> None:
        annotations, options = _by_kind(rows)
        annotations = annotations.combine_chunks()
        in_order = [("project_id", "ascending"), ("option_index", "ascending")]
        options = options.sort_by(in_order).combine_chunks()
        listed, project = ranked(annotations.column("project_id"))
        tasks, task_rank = ranked(annotations.column("task_id"))
        workers, worker_rank = ranked(annotations.column("worker_id"))
        first_option = np.flatnonzero(changes(options, ["project_id"]))
        if options.column("project_id").take(first_option).to_pylist() != listed.to_pylist():
            raise ScoringError(
                f"batch {rows.column('batch_index')[0]}: expected options of exactly the projects "
                f"that have annotations in it, {len(listed)}, got those of {len(first_option)}; "
                "run again, and report this if it comes back"
            )
        # Ids are unique within their project alone.
        task_key = project * len(tasks) + task_rank
        order = np.lexsort((worker_rank, task_key))
        new_task = np.ones(len(order), bool)
        new_task[1:] = task_key[order[1:]] != task_key[order[:-1]]
        task = np.cumsum(new_task) - 1
        pair = (project * len(workers) + worker_rank)[order]
        pairs, worker_row, worker = np.unique(pair, return_index=True, return_inverse=True)

        self.annotations = annotations
        self.labels = options.column("label").combine_chunks()
        self.task_row = order[new_task]  # an annotation of each task, a row of annotations
        self.worker_row = order[worker_row]  # and of each worker
        self.worker_project = pairs // len(workers)
        self.first_option = first_option[project[self.task_row]]  # row in labels, per task
        self.option_index = annotations.column("option_index").to_numpy()[order]
        self.batch = AnnotationBatch(
            task_index=task.astype(np.int32),
            worker_index=worker.astype(np.int32),
            option_index=self.option_index.astype(np.int32),
            task_project=project[self.task_row].astype(np.int32),
            project_ids=listed.to_pylist(),
            num_options=np.diff(np.append(first_option, len(options))).astype(np.int32),
            num_workers=len(worker_row),
        )

    def text(self, column: str, rows: Integers) -> pa.ChunkedArray:
        """The strings of a column at some annotations."""
        return pc.take(self.annotations.column(column), rows)

    def task_names(self) -> TaskNames:
        """What the batch's tasks are called, and their options."""
        return TaskNames(
            project_id=self.text("project_id", self.task_row),
            component_id=self.text("component_id", self.task_row),
            task_id=self.text("task_id", self.task_row),
            labels=self.labels,
            first_option=self.first_option,
        )


def halves(rows: pa.Table) -> list[pa.Table]:
    """Split a batch between its components into two of about equal numbers of annotations.

    Returns it alone where it has one component only. The order in which rows came leaves no trace.
    """
    annotations, options = _by_kind(rows)
    projects, project = ranked(annotations.column("project_id"))
    components, component = ranked(annotations.column("component_id"))
    keys, place, sizes = np.unique(
        project * len(components) + component, return_inverse=True, return_counts=True
    )
    if len(keys) < 2:
        return [rows]
    before = np.cumsum(sizes)[:-1]
    last = int(np.argmin(np.abs(2 * before - len(annotations))))
    parts = []
    for is_here in (place <= last, place > last):
        listed = projects.take(np.unique(project[is_here]))
        of_these = pc.is_in(options.column("project_id"), value_set=listed)
        parts.append(pa.concat_tables([annotations.filter(is_here), options.filter(of_these)]))
    return parts


def _by_kind(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The annotations of a batch, and the rows that list options."""
    is_option = pc.is_null(rows.column("task_id"))
    return rows.filter(pc.invert(is_option)), rows.filter(is_option)


@dataclass(frozen=True)
class TaskNames:
    """The strings of a batch's tasks: ids [T]; labels of option rows; first_option [T]: where the
    option rows of a task's project begin."""

    project_id: pa.ChunkedArray
    component_id: pa.ChunkedArray
    task_id: pa.ChunkedArray
    labels: pa.Array
    first_option: Integers

    def labels_at(self, option_rows: Integers, *, valid: npt.NDArray[np.bool_]) -> pa.Array:
        """The labels of option rows; null where not valid."""
        return pc.take(self.labels, pa.array(option_rows, pa.int64(), mask=~valid))


def task_rows(decoded: DecodedBatch, scored: ScoredBatch) -> pa.Table:
    """One row of SCORE_SCHEMA per task, in the order of their indices."""
    tasks = len(decoded.task_row)
    answers = np.bincount(decoded.batch.task_index, minlength=tasks)
    agrees = decoded.option_index == scored.label_index[decoded.batch.task_index]
    agreement = np.bincount(decoded.batch.task_index, agrees, tasks) / answers
    assigned = None
    if scored.assigned is not None:
        workers = decoded.text("worker_id", decoded.worker_row).combine_chunks()
        assigned = assigned_lists(scored.assigned, tasks, workers)
    return task_table(decoded.task_names(), scored, answers, agreement, assigned)


def worker_rows(decoded: DecodedBatch, scored: ScoredWorkers) -> pa.Table:
    """One row of SCORE_SCHEMA per worker, in the order of their indices."""
    return worker_table(
        decoded.text("project_id", decoded.worker_row),
        decoded.text("component_id", decoded.worker_row),
        decoded.text("worker_id", decoded.worker_row),
        scored,
    )


def assigned_lists(ranked: RankedWorkers, tasks: int, workers: pa.Array) -> pa.Array:
    """Whom each task is assigned to, as in SCORE_SCHEMA, empty for a task that is not; workers:
    names of those that are ranked."""
    names = workers.take(pa.array(ranked.worker_index))
    values = pa.StructArray.from_arrays(
        [names, pa.array(ranked.compatibility)], fields=list(_ASSIGNED)
    )
    start = np.searchsorted(ranked.task_index, np.arange(tasks + 1))
    return pa.ListArray.from_arrays(pa.array(start, pa.int32()), values)


def task_table(
    names: TaskNames,
    scored: ScoredTasks,
    num_answers: Integers,
    agreement: npt.NDArray[np.float64],
    assigned: pa.Array | None,
) -> pa.Table:
    """One row of SCORE_SCHEMA per task; agreement [T]: share of answers equal to the label;
    assigned: from `assigned_lists`, where that was asked for."""
    tasks = len(scored.label_index)
    everywhere = np.ones(tasks, bool)
    has_runner_up = scored.runner_up_index >= 0
    listed = np.repeat(names.first_option, np.diff(scored.top_offsets))
    keys = names.labels_at(listed + scored.top_option_index, valid=np.ones(len(listed), bool))
    return score_table(
        tasks,
        project_id=names.project_id,
        component_id=names.component_id,
        task_id=names.task_id,
        label=names.labels_at(names.first_option + scored.label_index, valid=everywhere),
        runner_up_label=names.labels_at(
            names.first_option + scored.runner_up_index, valid=has_runner_up
        ),
        probability=scored.probability,
        runner_up_probability=scored.runner_up_probability,
        entropy=scored.entropy,
        probabilities=pa.MapArray.from_arrays(
            pa.array(scored.top_offsets, pa.int32()), keys, pa.array(scored.top_probability)
        ),
        agreement=agreement,
        difficulty=pa.array(scored.difficulty, from_pandas=True),
        num_annotations=num_answers,
        **({} if assigned is None else {"assigned": assigned}),
    )


def worker_table(
    project_id: pa.Array, component_id: pa.Array, worker_id: pa.Array, scored: ScoredWorkers
) -> pa.Table:
    """One row of SCORE_SCHEMA per worker."""
    return score_table(
        len(worker_id),
        project_id=project_id,
        component_id=component_id,
        worker_id=worker_id,
        ability=pa.array(scored.ability, from_pandas=True),
        expected_accuracy=scored.expected_accuracy,
        agreement=scored.agreement_with_aggregate,
        num_annotations=scored.num_annotations,
    )


def score_table(rows: int, **columns: Any) -> pa.Table:
    """A table of SCORE_SCHEMA; columns that are not given are null."""
    arrays = [
        pa.array(columns[field.name], field.type)
        if isinstance(columns.get(field.name), np.ndarray)
        else columns.get(field.name, pa.nulls(rows, field.type))
        for field in _ARROW
    ]
    return pa.Table.from_arrays(arrays, schema=_ARROW)
