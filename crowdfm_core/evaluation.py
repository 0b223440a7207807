"""Accuracy on data sets with known truth: majority voting beside frozen weights.

A data set is a folder with label.csv (task, worker, answer) and truth.csv (task, truth). Truth
only measures: it adds neither tasks nor options. Letters: E annotations, T tasks, K options,
G gold tasks.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import CrowdFMError, InputError
from crowdfm_core.methods.majority_vote import count_votes
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch, Scorer
from crowdfm_core.weights import default_weights_path, load_weights

__all__ = [
    "Accuracy",
    "LabelledDataset",
    "batch_of",
    "evaluate",
    "markdown_table",
    "read_dataset",
    "read_datasets",
    "scored_credit",
]

IntArray = npt.NDArray[np.int32]

# Two probabilities closer than this share a task's credit; far above rounding in float32.
_TIE = 1e-6


@dataclass(frozen=True)
class LabelledDataset:
    """One project with truth for some of its tasks; index order is sorted order of the names."""

    name: str
    tasks: list[str]  # T
    workers: list[str]  # W
    options: list[str]  # K, those that somebody answered
    task_index: IntArray  # [E]
    worker_index: IntArray  # [E]
    option_index: IntArray  # [E]
    gold_task: IntArray  # [G]
    gold_option: IntArray  # [G], -1 where nobody gave the true answer to any task
    num_gold_without_annotations: int

    def accuracy(self, credit: npt.NDArray[np.float64]) -> float:
        """Mean credit [T] of the gold tasks, in [0, 1]."""
        return float(credit[self.gold_task].mean())

    def true_option(self) -> IntArray:
        """Truth per task, [T]; -1 where it is unknown or nobody's answer."""
        truth = np.full(len(self.tasks), -1, np.int32)
        truth[self.gold_task] = self.gold_option
        return truth


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of one data set, in [0, 1]; tied labels share a task's credit."""

    dataset: str
    num_tasks: int
    num_workers: int
    num_options: int
    num_annotations: int
    num_gold: int
    majority_vote: float
    crowdfm: float


def read_dataset(folder: Path, *, drop_repeated: bool = False) -> LabelledDataset:
    """Read one folder. Rows that repeat a (task, worker) pair are kept, as published accuracies
    have it, unless `drop_repeated`: then the first option in sorted order stands for the pair.

    Raises InputError for a missing file or column and for a truth file without a usable task.
    """
    answers = _read_columns(folder / "label.csv", ("task", "worker", "answer"))
    truths = _read_columns(folder / "truth.csv", ("task", "truth"))
    tasks, task_index = _indexed(answers[0])
    workers, worker_index = _indexed(answers[1])
    options, option_index = _indexed(answers[2])
    if drop_repeated:
        order = np.lexsort((option_index, worker_index, task_index))
        pair = task_index.astype(np.int64) * len(workers) + worker_index
        kept = order[np.unique(pair[order], return_index=True)[1]]
        task_index, worker_index = task_index[kept], worker_index[kept]
        option_index = option_index[kept]
    place = {task: index for index, task in enumerate(tasks)}
    option_place = {option: index for index, option in enumerate(options)}
    truth_of = dict(zip(*truths, strict=True))
    gold = [(place[task], truth) for task, truth in truth_of.items() if task in place]
    if not gold:
        raise InputError(f"{folder / 'truth.csv'}: none of its tasks is in label.csv")
    return LabelledDataset(
        name=folder.name,
        tasks=tasks,
        workers=workers,
        options=options,
        task_index=task_index,
        worker_index=worker_index,
        option_index=option_index,
        gold_task=np.array([task for task, _ in gold], np.int32),
        gold_option=np.array([option_place.get(truth, -1) for _, truth in gold], np.int32),
        num_gold_without_annotations=len(truth_of) - len(gold),
    )


def read_datasets(folder: Path, *, drop_repeated: bool = False) -> list[LabelledDataset]:
    """Read every sub-folder that has a label.csv, by name; raises InputError if none has."""
    found = sorted(path.parent for path in folder.glob("*/label.csv"))
    if not found:
        raise InputError(f"{folder}: expected sub-folders with label.csv and truth.csv, got none")
    return [read_dataset(path, drop_repeated=drop_repeated) for path in found]


def batch_of(dataset: LabelledDataset) -> AnnotationBatch:
    """The data set as one batch; its name is the project that seeds its option vectors."""
    return AnnotationBatch(
        task_index=dataset.task_index,
        worker_index=dataset.worker_index,
        option_index=dataset.option_index,
        task_project=np.zeros(len(dataset.tasks), np.int32),
        project_ids=[dataset.name],
        num_options=np.array([len(dataset.options)], np.int32),
        num_workers=len(dataset.workers),
    )


def scored_credit(scored: ScoredBatch, true_option: IntArray) -> npt.NDArray[np.float64]:
    """Credit of each task [T]: 1 / (number of options as probable as the first) where the truth
    is one of them, else 0."""
    offsets = np.asarray(scored.top_offsets)
    task = np.repeat(np.arange(len(true_option)), np.diff(offsets))
    tied = scored.top_probability >= scored.top_probability[offsets[:-1]][task] - _TIE
    count = np.bincount(task[tied], minlength=len(true_option))
    hit = tied & (scored.top_option_index == true_option[task])
    credit = np.zeros(len(true_option))
    credit[task[hit]] = 1.0 / count[task[hit]]
    return credit


def evaluate(datasets: Sequence[LabelledDataset], scorer: Scorer) -> list[Accuracy]:
    """Measure majority voting and the scorer's weights on every data set."""
    rows = []
    for dataset in datasets:
        truth = dataset.true_option()
        votes = count_votes(dataset.task_index, dataset.option_index, num_tasks=len(dataset.tasks))
        scored = scorer.score(batch_of(dataset))
        rows.append(
            Accuracy(
                dataset=dataset.name,
                num_tasks=len(dataset.tasks),
                num_workers=len(dataset.workers),
                num_options=len(dataset.options),
                num_annotations=len(dataset.task_index),
                num_gold=len(dataset.gold_task),
                majority_vote=dataset.accuracy(votes.credit(truth)),
                crowdfm=dataset.accuracy(scored_credit(scored, truth)),
            )
        )
    return rows


def markdown_table(rows: Sequence[Accuracy]) -> str:
    """Accuracies in per cent, one line per data set, and their means below."""
    lines = [
        "| data set | tasks | workers | options | annotations | majority_vote | crowdfm |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {r.dataset} | {r.num_tasks:,} | {r.num_workers:,} | {r.num_options:,} "
        f"| {r.num_annotations:,} | {100 * r.majority_vote:.2f} | {100 * r.crowdfm:.2f} |"
        for r in rows
    ]
    voted = 100 * float(np.mean([row.majority_vote for row in rows]))
    inferred = 100 * float(np.mean([row.crowdfm for row in rows]))
    lines.append(f"| mean | | | | | {voted:.2f} | {inferred:.2f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: print the table, and write JSON lines where asked to."""
    parser = argparse.ArgumentParser(prog="python -m crowdfm_core.evaluation", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of data sets")
    parser.add_argument("--weights", type=Path, help="frozen weights (default: the shipped ones)")
    parser.add_argument("--num-draws", type=int, default=4, help="draws of the option vectors")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--drop-repeated", action="store_true", help="one answer per pair")
    parser.add_argument("--json", type=Path, help="file for one JSON line per data set")
    arguments = parser.parse_args(argv)
    try:
        datasets = read_datasets(arguments.folder, drop_repeated=arguments.drop_repeated)
        weights = load_weights(arguments.weights or default_weights_path())
        scorer = Scorer(weights, device=arguments.device, num_draws=arguments.num_draws)
        rows = evaluate(datasets, scorer)
    except CrowdFMError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(markdown_table(rows) + "\n")
    if arguments.json:
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        arguments.json.write_text(lines, encoding="utf-8")
    return 0


def _read_columns(path: Path, names: tuple[str, ...]) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in names if name not in (rows.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: expected columns {names}, got {rows.fieldnames}")
            columns: list[tuple[Any, ...]] = [tuple(row[name] for name in names) for row in rows]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    incomplete = next((i for i, row in enumerate(columns) if None in row), None)
    if incomplete is not None:
        raise InputError(f"{path}: data row {incomplete + 1} has too few fields for {names}")
    return [[row[place] for row in columns] for place in range(len(names))]


def _indexed(values: list[str]) -> tuple[list[str], IntArray]:
    names, index = np.unique(np.array(values, object), return_inverse=True)
    return names.tolist(), index.astype(np.int32)


if __name__ == "__main__":
    sys.exit(main())
