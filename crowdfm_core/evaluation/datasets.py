"""Data sets with known truth: folders with label.csv (task, worker, answer) and truth.csv
(task, truth).

Truth only measures: it adds neither tasks nor options. Names are compared as text. Letters: E
annotations, T tasks, W workers, K options, G gold tasks.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import InputError
from crowdfm_core.methods.answers import Answers
from crowdfm_core.scoring import AnnotationBatch

__all__ = [
    "LabelledDataset",
    "answers_of",
    "batch_of",
    "find_datasets",
    "read_dataset",
    "read_datasets",
]

IntArray = npt.NDArray[np.int32]

_LABEL_FILE, _TRUTH_FILE = "label.csv", "truth.csv"


@dataclass(frozen=True)
class LabelledDataset:
    """One project with truth for some of its tasks; index order is sorted order of the names.

    notes: what a reader of its accuracy should know about the files, one sentence each.
    """

    name: str
    tasks: list[str]  # T
    workers: list[str]  # W
    options: list[str]  # K, those that somebody answered
    task_index: IntArray  # [E]
    worker_index: IntArray  # [E]
    option_index: IntArray  # [E]
    gold_task: IntArray  # [G]
    gold_option: IntArray  # [G], -1 where nobody gave the true answer to any task
    notes: tuple[str, ...] = ()

    def true_option(self) -> IntArray:
        """Truth per task, [T]; -1 where it is unknown or nobody's answer."""
        truth = np.full(len(self.tasks), -1, np.int32)
        truth[self.gold_task] = self.gold_option
        return truth


def find_datasets(folder: Path) -> list[Path]:
    """Folders of data sets by name: `folder` itself, or its sub-folders with either file.

    Raises InputError if there is none.
    """
    if (folder / _LABEL_FILE).is_file():
        return [folder]
    files = (path for name in (_LABEL_FILE, _TRUTH_FILE) for path in folder.glob(f"*/{name}"))
    found = sorted({path.parent for path in files})
    if not found:
        raise InputError(
            f"{folder}: expected sub-folders with {_LABEL_FILE} and {_TRUTH_FILE}, got none"
        )
    return found


def read_datasets(folder: Path, *, drop_repeated: bool = False) -> list[LabelledDataset]:
    """Read every data set of a folder; raises InputError for the first that cannot be used."""
    return [read_dataset(path, drop_repeated=drop_repeated) for path in find_datasets(folder)]


def read_dataset(folder: Path, *, drop_repeated: bool = False) -> LabelledDataset:
    """Read one folder. Rows that repeat a (task, worker) pair are kept, as published accuracies
    have it, unless `drop_repeated`: then the first option in sorted order stands for the pair.

    Raises InputError for a missing or unreadable file, a missing column, and a truth file without
    a usable task. What is merely odd is left out or kept as `notes` say.
    """
    notes: list[str] = []
    answers = _read_columns(folder / _LABEL_FILE, ("task", "worker", "answer"), notes)
    truths = _read_columns(folder / _TRUTH_FILE, ("task", "truth"), notes)
    tasks, task_index = _indexed(answers[0])
    workers, worker_index = _indexed(answers[1])
    options, option_index = _indexed(answers[2])
    order = np.lexsort((option_index, worker_index, task_index))
    pair = task_index.astype(np.int64) * len(workers) + worker_index
    first = order[np.unique(pair[order], return_index=True)[1]]
    if len(first) < len(pair):
        done = "left out" if drop_repeated else "kept"
        notes.append(f"{len(pair) - len(first)} rows repeat a (task, worker) pair: {done}")
    kept = first if drop_repeated else slice(None)
    gold = _gold(folder / _TRUTH_FILE, truths, tasks, options, notes)
    notes += _notes_on_options(options)
    return LabelledDataset(
        name=folder.name,
        tasks=tasks,
        workers=workers,
        options=options,
        task_index=task_index[kept],
        worker_index=worker_index[kept],
        option_index=option_index[kept],
        gold_task=gold[0],
        gold_option=gold[1],
        notes=tuple(notes),
    )


def answers_of(dataset: LabelledDataset) -> Answers:
    """The data set as the classical methods take it."""
    return Answers(
        task_index=dataset.task_index,
        worker_index=dataset.worker_index,
        option_index=dataset.option_index,
        num_tasks=len(dataset.tasks),
        num_workers=len(dataset.workers),
        num_options=len(dataset.options),
    )


def batch_of(dataset: LabelledDataset, *, seed: int = 0) -> AnnotationBatch:
    """The data set as one batch. Its name is the project that seeds its option vectors; other
    seeds than 0 are added to it."""
    return AnnotationBatch(
        task_index=dataset.task_index,
        worker_index=dataset.worker_index,
        option_index=dataset.option_index,
        task_project=np.zeros(len(dataset.tasks), np.int32),
        project_ids=[f"{dataset.name} seed {seed}" if seed else dataset.name],
        num_options=np.array([len(dataset.options)], np.int32),
        num_workers=len(dataset.workers),
    )


def _gold(
    file: Path,
    truths: Sequence[list[str]],
    tasks: list[str],
    options: list[str],
    notes: list[str],
) -> tuple[IntArray, IntArray]:
    """Gold tasks [G] and their true options [G]; adds to `notes` what does not fit."""
    place = {task: index for index, task in enumerate(tasks)}
    option_place = {option: index for index, option in enumerate(options)}
    truth_of = dict(zip(*truths, strict=True))
    several = len(set(zip(*truths, strict=True))) - len(truth_of)
    if several:
        notes.append(f"{several} more truths for a task that has one: its last row counts")
    gold = [(place[task], truth) for task, truth in truth_of.items() if task in place]
    if not gold:
        raise InputError(f"{file}: none of its {len(truth_of)} tasks is in {_LABEL_FILE}")
    if len(gold) < len(truth_of):
        notes.append(f"{len(truth_of) - len(gold)} tasks have a truth but no answers: left out")
    foreign = [truth for _, truth in gold if truth not in option_place]
    if foreign:
        notes.append(
            f"{len(foreign)} gold tasks have a truth that is nobody's answer to any task "
            f"({foreign[0]!r}): counted as wrong{_other_spelling(foreign, options)}"
        )
    return (
        np.array([task for task, _ in gold], np.int32),
        np.array([option_place.get(truth, -1) for _, truth in gold], np.int32),
    )


def _other_spelling(foreign: list[str], options: list[str]) -> str:
    """Say so where a truth is an answer spelt as another number, as in 1.0 for 1."""
    numbers = {_number(option): option for option in options}
    for truth in foreign:
        same = numbers.get(_number(truth))
        if same is not None and _number(truth) is not None:
            return f"; truth {truth!r} and answer {same!r} are one number, spell them alike"
    return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _notes_on_options(options: list[str]) -> list[str]:
    notes = []
    if len(options) == 1:
        notes.append(f"a single option ({options[0]!r}): every method gives the same labels")
    words = [option for option in options if not option.strip().lstrip("+-").isdigit()]
    if words:
        notes.append(
            f"{len(words)} of {len(options)} options are not whole numbers ({words[0]!r}): "
            "compared as text"
        )
    return notes


def _read_columns(path: Path, names: tuple[str, ...], notes: list[str]) -> list[list[str]]:
    """Columns of a CSV file without the rows that have an empty field, which `notes` counts."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in names if name not in (rows.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: expected columns {names}, got {rows.fieldnames}")
            columns: list[tuple[Any, ...]] = [tuple(row[name] for name in names) for row in rows]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, got {error}") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from error
    short = next((i for i, row in enumerate(columns) if None in row), None)
    if short is not None:
        raise InputError(f"{path}: data row {short + 1} has too few fields for {names}")
    full = [row for row in columns if all(value.strip() for value in row)]
    if not full:
        raise InputError(f"{path}: expected rows with {', '.join(names)}, got none")
    if len(full) < len(columns):
        empty = len(columns) - len(full)
        notes.append(f"{empty} rows of {path.name} with an empty {' or '.join(names)}: left out")
    return [[row[place] for row in full] for place in range(len(names))]


def _indexed(values: list[str]) -> tuple[list[str], IntArray]:
    names, index = np.unique(np.array(values, object), return_inverse=True)
    return names.tolist(), index.astype(np.int32)
