"""Reading data sets with truth, good and bad ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from crowdfm_core.errors import InputError
from crowdfm_core.evaluation import answers_of, batch_of, find_datasets, read_dataset, read_datasets

LABELS = ["t1,w1,a", "t1,w2,b", "t2,w1,b", "t2,w2,b", "t3,w2,a"]
TRUTHS = ["t1,a", "t2,b"]


def write(folder: Path, labels: list[str] | None = None, truths: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, header, rows in (
        ("label.csv", "task,worker,answer", LABELS if labels is None else labels),
        ("truth.csv", "task,truth", TRUTHS if truths is None else truths),
    ):
        (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def test_indices_follow_the_sorted_names(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "set"))
    assert dataset.name == "set"
    assert (dataset.tasks, dataset.workers) == (["t1", "t2", "t3"], ["w1", "w2"])
    assert dataset.options == ["a", "b"]
    np.testing.assert_array_equal(dataset.task_index, [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(dataset.worker_index, [0, 1, 0, 1, 1])
    np.testing.assert_array_equal(dataset.option_index, [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(dataset.true_option(), [0, 1, -1])


def test_methods_and_weights_get_the_same_rows(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "set"))
    answers, batch = answers_of(dataset), batch_of(dataset)
    np.testing.assert_array_equal(answers.task_index, batch.task_index)
    assert (answers.num_tasks, answers.num_workers, answers.num_options) == (3, 2, 2)
    assert list(batch.project_ids) == ["set"]
    assert list(batch_of(dataset, seed=2).project_ids) == ["set seed 2"]


def test_repeated_pairs_are_kept_or_dropped_and_noted(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", ["t1,w1,b", *LABELS])
    kept, dropped = read_dataset(folder), read_dataset(folder, drop_repeated=True)
    assert (len(kept.task_index), len(dropped.task_index)) == (6, 5)
    assert "1 rows repeat a (task, worker) pair: kept" in kept.notes
    assert "1 rows repeat a (task, worker) pair: left out" in dropped.notes
    first = (dropped.task_index == 0) & (dropped.worker_index == 0)
    assert [dropped.options[o] for o in dropped.option_index[first]] == ["a"]


@pytest.mark.parametrize(
    ("labels", "truths", "note"),
    [
        (None, ["t1,a", "t9,a", "t8,b"], "2 tasks have a truth but no answers: left out"),
        (None, ["t1,c", "t2,b"], "1 gold tasks have a truth that is nobody's answer to any task"),
        (None, ["t1,a", "t1,b", "t2,b"], "1 more truths for a task that has one"),
        (["t1,w1,a", "t2,w1,a"], ["t1,a"], "a single option ('a')"),
        (["t1,w1,1", "t2,w1,2"], ["t1,1.0"], "truth '1.0' and answer '1' are one number"),
        (["t1,w1,1", "t2,w1,x y"], ["t1,1"], "1 of 2 options are not whole numbers ('x y')"),
        (["t1,w1,1", "t2,w1,", ",w1,1"], ["t1,1"], "2 rows of label.csv with an empty task or"),
        (None, ["t1,a", "t2, "], "1 rows of truth.csv with an empty task or truth: left out"),
    ],
)
def test_what_is_odd_is_noted(
    tmp_path: Path, labels: list[str] | None, truths: list[str] | None, note: str
) -> None:
    dataset = read_dataset(write(tmp_path / "set", labels, truths))
    assert [said for said in dataset.notes if note in said]


def test_truth_adds_neither_tasks_nor_options(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "set", truths=["t1,c", "t9,d", "t2,b"]))
    assert dataset.options == ["a", "b"]
    assert dataset.tasks == ["t1", "t2", "t3"]
    np.testing.assert_array_equal(dataset.gold_option, [-1, 1])


def test_clean_sets_have_no_notes(tmp_path: Path) -> None:
    assert read_dataset(write(tmp_path / "s", ["1,1,0", "2,1,-1"], ["1,0"])).notes == ()


@pytest.mark.parametrize(
    ("labels", "truths", "message"),
    [
        (None, ["t7,a"], r"truth\.csv: none of its 1 tasks is in label\.csv"),
        (["t1,w1"], None, r"label\.csv: data row 1 has too few fields"),
        ([], None, r"label\.csv: expected rows with task, worker, answer, got none"),
        (None, [], r"truth\.csv: expected rows with task, truth, got none"),
        ([f't1,w1,"{"x" * 200_000}'], None, r"label\.csv: not a CSV file \(field larger"),
    ],
)
def test_what_is_unusable_is_refused(
    tmp_path: Path, labels: list[str] | None, truths: list[str] | None, message: str
) -> None:
    before = csv.field_size_limit(131_072)  # Python's own; a reader of ours raises it
    try:
        with pytest.raises(InputError, match=message):
            read_dataset(write(tmp_path / "set", labels, truths))
    finally:
        csv.field_size_limit(before)


def test_missing_misnamed_and_binary_files_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    (folder / "truth.csv").write_text("task,label\nt1,a\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected columns \('task', 'truth'\), got"):
        read_dataset(folder)
    (folder / "truth.csv").write_bytes(b"task,truth\n\xff\xfe,\x00\n")
    with pytest.raises(InputError, match=r"truth\.csv: expected UTF-8 text"):
        read_dataset(folder)
    (folder / "truth.csv").unlink()
    with pytest.raises(InputError, match=r"truth\.csv cannot be read: No such file"):
        read_dataset(folder)


def test_folders_are_found_by_either_file(tmp_path: Path) -> None:
    write(tmp_path / "b")
    write(tmp_path / "a")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "truth.csv").touch()
    (tmp_path / "other").mkdir()
    assert [path.name for path in find_datasets(tmp_path)] == ["a", "b", "c"]
    assert find_datasets(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(InputError, match=r"expected sub-folders with label\.csv and truth\.csv"):
        find_datasets(tmp_path / "other")


def test_reading_all_stops_at_the_first_bad_one(tmp_path: Path) -> None:
    write(tmp_path / "a")
    assert [dataset.name for dataset in read_datasets(tmp_path)] == ["a"]
    write(tmp_path / "b", truths=[])
    with pytest.raises(InputError, match=r"b/truth\.csv"):
        read_datasets(tmp_path)
