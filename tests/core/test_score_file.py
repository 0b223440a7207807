"""`crowdfm score`: results per format, the rule for repeated answers, safety of what is there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crowdfm_core import CrowdFM
from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.errors import InputError
from crowdfm_core.score_file import resolve_repeated, score_file

# Two projects; w3 is the odd one out, and the last row cannot be used.
ROWS = pd.DataFrame(
    [
        ("p1", "t1", "w1", "cat"),
        ("p1", "t1", "w2", "cat"),
        ("p1", "t1", "w3", "dog"),
        ("p1", "t2", "w1", "dog"),
        ("p1", "t2", "w2", "dog"),
        ("p1", "t2", "w3", "cat"),
        ("p2", "t1", "w1", "3"),  # the same task id in another project, with a single option
        ("p2", "t2", "w2", "3"),
        ("p2", "", "w2", "3"),
    ],
    columns=["project", "task", "worker", "label"],
)


def csv_of(frame: pd.DataFrame, folder: Path) -> Path:
    path = folder / "answers.csv"
    frame.to_csv(path, index=False)
    return path


def test_score_file_labels_every_task_of_every_project(tmp_path: Path) -> None:
    summary = score_file(csv_of(ROWS, tmp_path), tmp_path / "out")
    labels = pd.read_csv(tmp_path / "out" / "labels.csv", dtype={"label": str})
    assert labels[["project_id", "task_id", "label"]].to_numpy().tolist() == [
        ["p1", "t1", "cat"],
        ["p1", "t2", "dog"],
        ["p2", "t1", "3"],
        ["p2", "t2", "3"],
    ]
    assert labels["num_annotations"].tolist() == [3, 3, 1, 1]
    assert labels["agreement"].tolist() == pytest.approx([2 / 3, 2 / 3, 1, 1])
    assert labels["probability"].between(0, 1).all()
    assert labels["runner_up_label"].isna().tolist() == [False, False, True, True]
    assert "tasks      4 labelled" in summary
    assert "rejected   1" in summary


def test_score_file_scores_the_odd_worker_lowest(tmp_path: Path) -> None:
    score_file(csv_of(ROWS, tmp_path), tmp_path / "out")
    workers = pd.read_csv(tmp_path / "out" / "worker_scores.csv")
    first = workers[workers["project_id"] == "p1"].set_index("worker_id")
    assert first["agreement_with_aggregate"].to_dict() == {"w1": 1.0, "w2": 1.0, "w3": 0.0}
    assert first["expected_accuracy"].idxmin() == "w3"
    assert first["num_annotations"].tolist() == [2, 2, 2]


def test_score_file_sets_bad_rows_aside(tmp_path: Path) -> None:
    score_file(csv_of(ROWS, tmp_path), tmp_path / "out")
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    assert rejected.to_numpy().tolist() == [[10, "task is blank", "p2,,w2,3"]]


def test_score_file_without_project_column_equals_the_estimator(tmp_path: Path) -> None:
    rows = ROWS.iloc[:6].drop(columns="project")
    score_file(csv_of(rows, tmp_path), tmp_path / "out")
    labels = pd.read_csv(tmp_path / "out" / "labels.csv").set_index("task_id")
    assert "project_id" not in labels
    assert not (tmp_path / "out" / "rejected.csv").exists()
    expected = CrowdFM().fit_predict_proba(rows)
    chosen = [expected.at[task, label] for task, label in labels["label"].items()]
    assert labels["probability"].tolist() == pytest.approx(chosen, abs=1e-6)


def test_score_file_assigns_doubtful_tasks_to_others_of_their_project(tmp_path: Path) -> None:
    """w4 alone has not answered t1 and t2 of p1; p2's tasks are apart, each with one worker."""
    rows = pd.DataFrame(
        [("p1", "t3", "w4", "cat"), ("p1", "t3", "w1", "cat")], columns=ROWS.columns[:4]
    )
    path, out = csv_of(pd.concat([ROWS, rows]), tmp_path), tmp_path / "out"
    summary = score_file(path, out, assignments=AssignmentRule(2, max_probability=1.0))
    assigned = pd.read_csv(out / "assignments.csv")
    assert list(assigned) == ["project_id", "task_id", "rank", "worker_id", "compatibility"]
    by_task = assigned.groupby(["project_id", "task_id"])["worker_id"].agg(list).to_dict()
    assert by_task[("p1", "t1")] == ["w4"]
    assert by_task[("p1", "t2")] == ["w4"]
    assert set(by_task[("p1", "t3")]) == {"w2", "w3"}
    assert len(by_task) == 3
    ranked = assigned[assigned["task_id"] == "t3"]
    assert ranked["rank"].tolist() == [1, 2]
    assert ranked["compatibility"].is_monotonic_decreasing
    assert "assigned   3 tasks, 4 answers to ask for" in summary
    score_file(path, out, overwrite=True)
    assert not (out / "assignments.csv").exists()  # of the run that was replaced


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet"])
def test_score_file_writes_the_format_of_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answers{suffix}"
    if suffix == ".tsv":
        ROWS.to_csv(path, index=False, sep="\t")
    elif suffix == ".jsonl":
        ROWS.to_json(path, orient="records", lines=True)
    else:
        ROWS.to_parquet(path)
    score_file(path, tmp_path / "out")
    written = tmp_path / "out" / f"labels{suffix}"
    if suffix == ".tsv":
        labels = pd.read_csv(written, sep="\t")
    elif suffix == ".jsonl":
        labels = pd.read_json(written, lines=True)
    else:
        labels = pd.read_parquet(written)
    assert labels["task_id"].tolist() == ["t1", "t2", "t1", "t2"]


def test_score_file_replaces_nothing_unless_told(tmp_path: Path) -> None:
    path = csv_of(ROWS, tmp_path)
    score_file(path, tmp_path / "out")
    before = (tmp_path / "out" / "labels.csv").read_text()
    with pytest.raises(InputError, match=r"labels\.csv.*would be replaced; say --overwrite"):
        score_file(path, tmp_path / "out")
    score_file(csv_of(ROWS.iloc[:-1], tmp_path), tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "labels.csv").read_text() == before
    assert not (tmp_path / "out" / "rejected.csv").exists()  # nothing was rejected this time


def test_score_file_without_usable_row_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no usable row, 1 rejected; first reason: task is blank"):
        score_file(csv_of(ROWS.iloc[-1:], tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_score_file_names_the_output_that_cannot_be_written(tmp_path: Path) -> None:
    path = csv_of(ROWS, tmp_path)
    with pytest.raises(InputError, match=r"answers\.csv/out cannot be written: Not a directory"):
        score_file(path, path / "out")


def test_score_file_that_fails_while_writing_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = csv_of(ROWS, tmp_path), tmp_path / "out"
    score_file(path, out)
    before = {file.name: file.read_text() for file in out.iterdir()}

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", disk_full)
    with pytest.raises(InputError, match="out cannot be written: No space left on device"):
        score_file(path, out, overwrite=True)
    assert {file.name: file.read_text() for file in out.iterdir()} == before


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["9", "10", "2"], "b"),  # numbers, not text: 10 is the latest
        (["2025-01-02T00:00:00Z", "2025-01-01 23:00", "2025-01-02T01:00:00+02:00"], "a"),
        (["yesterday", "2025-01-01", None], "b"),  # what cannot be read counts as oldest
        (["2025-01-01", "2025-01-01", "2025-01-01"], "a"),  # of equal times the first row
        ([None, None, None], "a"),
    ],
)
def test_repeated_answers_keep_the_latest(times: list[str | None], expected: str) -> None:
    rows = pd.DataFrame({"task": "t", "worker": "w", "label": list("abc"), "time": times})
    assert resolve_repeated(rows)["label"].tolist() == [expected]


def test_repeated_answers_without_time_keep_the_first_and_the_order() -> None:
    rows = pd.DataFrame(
        [("t2", "w", "b"), ("t1", "w", "a"), ("t2", "w", "c"), ("t2", "v", "c")],
        columns=["task", "worker", "label"],
    )
    kept = resolve_repeated(rows).to_numpy().tolist()
    assert kept == [["t2", "w", "b"], ["t1", "w", "a"], ["t2", "v", "c"]]
