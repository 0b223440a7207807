"""`crowdfm score`: one file of annotations in, files of labels and worker scores out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from crowdfm_core.annotation_files import AnnotationFile, read_annotation_file
from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.errors import InputError
from crowdfm_core.scoring import AnnotationBatch, Scorer
from crowdfm_core.weights import load_weights

__all__ = ["resolve_repeated", "score_file"]

_ONE_PROJECT = "default"  # keys the option vectors of a file without a project column


def score_file(
    path: Path,
    out: Path,
    *,
    columns: Mapping[str, str] | None = None,
    weights: str = "default",
    assignments: AssignmentRule | None = None,
    overwrite: bool = False,
) -> str:
    """Label the tasks of a file, write the results under `out`, and return a summary for people.

    Writes, in the format of the file, `labels` (one row per task) and `worker_scores` (one row per
    worker of a project), by a rule of assignments also `assignments` (one row per task and rank),
    and `rejected.csv` if rows were unusable. All files are written in full before any takes its
    name; what `overwrite` replaces goes, also where there is nothing to write in its place. Raises
    InputError if one is there already and `overwrite` is not set, or if no row is usable.
    """
    suffix = path.suffix.lower()
    names = ("labels", "worker_scores", "assignments")
    targets = {name: out / f"{name}{suffix}" for name in names}
    targets["rejected"] = out / "rejected.csv"
    there = [str(target) for target in targets.values() if target.exists()]
    if there and not overwrite:
        raise InputError(f"{', '.join(there)} would be replaced; say --overwrite, or another --out")

    file = read_annotation_file(path, columns or {})
    if file.rows.empty:
        first = "" if file.rejected.empty else f"; first reason: {file.rejected['reasons'].iloc[0]}"
        raise InputError(f"{path}: no usable row, {len(file.rejected)} rejected{first}")
    rows = resolve_repeated(file.rows)
    results = _score(rows, weights, assignments)

    frames = {targets[name]: frame for name, frame in results.items()}
    if not file.rejected.empty:
        frames[targets["rejected"]] = file.rejected
    _write_all(frames, out)
    for target in targets.values():
        if target not in frames:
            target.unlink(missing_ok=True)  # of an earlier run that is being replaced
    return _summary(path, file, rows, results, list(frames))


def resolve_repeated(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one answer per project, task and worker: the latest by `time`, else the first.

    Times that are all numbers are compared as such, others as dates; one that cannot be read
    counts as the oldest. Of equal times the first row in file order stays. The order of the kept
    rows is that of the file.
    """
    key = [column for column in ("project", "task", "worker") if column in rows]
    if "time" in rows:
        moment = pd.to_numeric(rows["time"], errors="coerce")
        if moment.notna().sum() < rows["time"].notna().sum():
            moment = pd.to_datetime(rows["time"], errors="coerce", utc=True, format="mixed")
        newest_first = moment.sort_values(ascending=False, kind="stable", na_position="last")
        rows = rows.loc[newest_first.index]
    return rows.drop_duplicates(key, keep="first").sort_index()


@dataclass(frozen=True)
class _Numbered:
    """Values of one column, numbered within projects: by project, then by value."""

    index: npt.NDArray[np.int32]  # [E] number of each row's value
    project: npt.NDArray[np.int32]  # [N]
    value: npt.NDArray[np.object_]  # [N]


def _score(
    rows: pd.DataFrame, weights: str, assignments: AssignmentRule | None
) -> dict[str, pd.DataFrame]:
    """Score all projects of the file in one batch; returns the frames by the names of files."""
    if "project" in rows:
        row_project, project_ids = pd.factorize(rows["project"], sort=True)  # [E], [P]
    else:
        row_project, project_ids = np.zeros(len(rows), np.int64), pd.Index([_ONE_PROJECT])
    tasks = _numbered(row_project, rows["task"])
    workers = _numbered(row_project, rows["worker"])
    options = _numbered(row_project, rows["label"])
    first_option = np.searchsorted(options.project, np.arange(len(project_ids)))  # [P]

    scored = Scorer(load_weights(weights), device="cpu", assignments=assignments).score(
        AnnotationBatch(
            task_index=tasks.index,
            worker_index=workers.index,
            option_index=(options.index - first_option[row_project]).astype(np.int32),
            task_project=tasks.project,
            project_ids=[str(project_id) for project_id in project_ids],
            num_options=np.bincount(options.project).astype(np.int32),
            num_workers=len(workers.value),
        )
    )
    chosen = first_option[tasks.project] + scored.label_index  # [T] row of `options`
    runner_up = options.value[first_option[tasks.project] + scored.runner_up_index]
    runner_up[scored.runner_up_index < 0] = None  # a project with one option has none
    num_annotations = np.bincount(tasks.index)
    labels = pd.DataFrame(
        {
            "task_id": tasks.value,
            "label": options.value[chosen],
            "probability": scored.probability,
            "runner_up_label": runner_up,
            "margin": scored.probability - scored.runner_up_probability,
            "entropy": scored.entropy,
            "num_annotations": num_annotations,
            "agreement": np.bincount(tasks.index, options.index == chosen[tasks.index])
            / num_annotations,
            "difficulty": scored.difficulty,
        }
    )
    scores = pd.DataFrame(
        {
            "worker_id": workers.value,
            "ability": scored.ability,
            "expected_accuracy": scored.expected_accuracy,
            "agreement_with_aggregate": scored.agreement_with_aggregate,
            "num_annotations": scored.num_annotations,
        }
    )
    results = {"labels": labels, "worker_scores": scores}
    projects = [tasks.project, workers.project]
    if (ranked := scored.assigned) is not None:
        results["assignments"] = pd.DataFrame(
            {
                "task_id": tasks.value[ranked.task_index],
                "rank": ranked.rank,
                "worker_id": workers.value[ranked.worker_index],
                "compatibility": ranked.compatibility,
            }
        )
        projects.append(tasks.project[ranked.task_index])
    if "project" in rows:
        for frame, project in zip(results.values(), projects, strict=True):
            frame.insert(0, "project_id", project_ids[project])
    return results


def _numbered(row_project: npt.NDArray[np.int64], column: pd.Series[str]) -> _Numbered:
    codes, values = pd.factorize(column, sort=True)
    pairs, index = np.unique(row_project * len(values) + codes, return_inverse=True)
    project, code = np.divmod(pairs, len(values))
    return _Numbered(
        index.astype(np.int32), project.astype(np.int32), values.to_numpy(object)[code]
    )


def _write_all(frames: Mapping[Path, pd.DataFrame], out: Path) -> None:
    """Write every frame under a temporary name first, so that a full disk replaces nothing."""
    partial = {path: path.with_name(f".{path.name}.partial") for path in frames}
    try:
        out.mkdir(parents=True, exist_ok=True)
        try:
            for path, frame in frames.items():
                _write(frame, partial[path], path.suffix)
            for path in frames:
                os.replace(partial[path], path)
        finally:
            for path in partial.values():
                path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error


def _write(frame: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")


def _summary(
    path: Path,
    file: AnnotationFile,
    rows: pd.DataFrame,
    results: Mapping[str, pd.DataFrame],
    written: list[Path],
) -> str:
    taken = ", ".join(f"{role} = {column}" for role, column in file.columns.items())
    repeated = len(file.rows) - len(rows)
    lines = [
        f"{path}: {taken}",
        f"  rows       {len(file.rows) + len(file.rejected):,}",
        f"  rejected   {len(file.rejected):,}",
        f"  repeated   {repeated:,} (of one worker on one task; the latest counts)",
        f"  tasks      {len(results['labels']):,} labelled",
        f"  workers    {len(results['worker_scores']):,} scored",
    ]
    if "assignments" in results:
        assigned = results["assignments"]
        tasks = int((assigned["rank"] == 1).sum())
        lines.append(f"  assigned   {tasks:,} tasks, {len(assigned):,} answers to ask for")
    return "\n".join([*lines, *(f"  written    {target}" for target in written)])
