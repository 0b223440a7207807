"""Measures, runs and reports of an evaluation."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crowdfm_core.errors import InputError, ScoringError
from crowdfm_core.evaluation import (
    Contender,
    LabelledDataset,
    Prediction,
    classical,
    evaluate,
    frozen,
    measure,
    read_dataset,
)
from crowdfm_core.evaluation.measures import (
    log_loss,
    prediction_of_result,
    prediction_of_scored,
    reliability,
)
from crowdfm_core.evaluation.published import read_published_table
from crowdfm_core.evaluation.report import json_records, markdown_report
from crowdfm_core.evaluation.summary import common_datasets, summarise
from crowdfm_core.methods.answers import MethodResult
from crowdfm_core.scoring import ScoredBatch
from crowdfm_core.weights import load_weights
from tests.core.crowds_for_methods import drawn
from tests.core.test_evaluation_datasets import write


def dataset_of(tmp_path: Path, name: str = "set", seed: int = 1) -> LabelledDataset:
    """A drawn crowd of 120 tasks, through its files."""
    crowd = drawn("dawid_skene", tasks=120, seed=seed)
    rows = zip(crowd.task_index, crowd.worker_index, crowd.option_index, strict=True)
    labels = [f"{task},{worker},{option}" for task, worker, option in rows]
    truths = [f"{task},{option}" for task, option in enumerate(crowd.true_option)]
    return read_dataset(write(tmp_path / name, labels, truths))


def three_tasks(gold_option: list[int]) -> LabelledDataset:
    index = np.arange(3, dtype=np.int32)
    names = ["0", "1", "2"]
    return LabelledDataset(
        "three", names, names, names, index, index, index, index, np.array(gold_option, np.int32)
    )


def constant(name: str, credit: float, *, uses_seed: bool = False) -> Contender:
    """Right with `credit` on every gold task; a seed adds 0.1."""

    def predict(dataset: LabelledDataset, seed: int) -> Prediction:
        ones = np.ones(len(dataset.gold_task))
        return Prediction((credit + 0.1 * seed * uses_seed) * ones, 0.5 * ones, 0.25 * ones)

    return Contender(name, (name,), uses_seed, predict)


def failing(error: Exception) -> Contender:
    def predict(dataset: LabelledDataset, seed: int) -> Prediction:
        raise error

    return Contender("failing", ("failing",), False, predict)


def test_ties_share_credit_and_foreign_truths_are_wrong() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6], [0.8, 0.1, 0.1]])
    result = MethodResult(probabilities, np.array([0, 2, 0], np.int32), np.ones(3), 1, True)
    prediction = prediction_of_result(three_tasks([1, 0, -1]), result)
    np.testing.assert_allclose(prediction.credit, [0.5, 0.0, 0.0])
    np.testing.assert_allclose(prediction.probability, [0.5, 0.6, 0.8])
    np.testing.assert_allclose(prediction.true_probability, [0.5, 0.2, 0.0])
    assert prediction.accuracy == pytest.approx(1 / 6)


def test_labels_without_probabilities_are_certain() -> None:
    result = MethodResult(None, np.array([1, 0, 2], np.int32), np.ones(3), 1, True)
    prediction = prediction_of_result(three_tasks([1, 1, 2]), result)
    np.testing.assert_array_equal(prediction.credit, [1.0, 0.0, 1.0])
    np.testing.assert_array_equal(prediction.true_probability, [1.0, 0.0, 1.0])


def test_listed_options_are_judged_as_the_whole_table() -> None:
    """Task 0 lists all its options; task 1 lists one of three, the rest is shared by two."""
    floats = np.zeros(3)
    index = np.zeros(3, np.int32)
    scored = ScoredBatch(
        label_index=np.array([2, 0, 1], np.int32),
        probability=np.array([0.6, 0.7, 0.4]),
        runner_up_index=index,
        runner_up_probability=floats,
        entropy=floats,
        difficulty=floats,
        top_offsets=np.array([0, 3, 4, 6]),
        top_option_index=np.array([2, 0, 1, 0, 1, 2], np.int32),
        top_probability=np.array([0.6, 0.3, 0.1, 0.7, 0.4, 0.4]),
        ability=floats,
        expected_accuracy=floats,
        agreement_with_aggregate=floats,
        num_annotations=np.zeros(3, np.int64),
    )
    prediction = prediction_of_scored(three_tasks([0, 2, 2]), scored)
    np.testing.assert_allclose(prediction.true_probability, [0.3, 0.15, 0.4])
    np.testing.assert_allclose(prediction.credit, [0.0, 0.0, 0.5])
    foreign = prediction_of_scored(three_tasks([0, -1, 1]), scored)
    np.testing.assert_allclose(foreign.true_probability, [0.3, 0.0, 0.4])


def test_calibration_error_and_log_loss_equal_plain_loops() -> None:
    rng = np.random.default_rng(4)
    probability = np.concatenate([rng.random(500), [0.0, 1.0, 1 / 15, 2 / 15]])
    credit = rng.integers(0, 3, len(probability)) / 2
    prediction = Prediction(credit, probability, rng.random(len(probability)))
    error = 0.0
    for edge in range(15):
        inside = (probability > edge / 15) & (probability <= (edge + 1) / 15)
        inside |= (probability == 0.0) & (edge == 0)
        if inside.any():
            error += inside.mean() * abs(credit[inside].mean() - probability[inside].mean())
    assert reliability(prediction).calibration_error() == pytest.approx(error)
    expected = np.mean([-np.log(p) for p in prediction.true_probability])
    assert log_loss(prediction) == pytest.approx(expected)


def test_log_loss_of_the_impossible_is_clipped() -> None:
    impossible = Prediction(np.zeros(2), np.ones(2), np.array([0.0, 1.0]))
    assert log_loss(impossible) == pytest.approx(-np.log(1e-6) / 2)


def test_measure_averages_seeds_only_where_they_matter(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    row = measure(dataset, constant("drawn", 0.5, uses_seed=True), num_seeds=3)
    assert row.num_seeds == 3
    assert row.accuracy == pytest.approx(0.6)
    assert row.accuracy_range == pytest.approx(0.2)
    assert measure(dataset, constant("fixed", 0.5), num_seeds=3).num_seeds == 1


def test_frozen_weights_depend_on_the_seed_only_through_option_vectors(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    contender = frozen("crowdfm", load_weights(), num_draws=1)
    first, again = contender.predict(dataset, 1), contender.predict(dataset, 1)
    np.testing.assert_array_equal(first.probability, again.probability)
    differs = (contender.predict(dataset, 2).probability != first.probability).any()
    assert differs == contender.uses_seed


@pytest.mark.parametrize(
    ("error", "message", "unforeseen"),
    [
        (ScoringError("too large"), "too large", False),
        (MemoryError("9 GiB"), r"out of memory \(9 GiB\)", False),
        (ZeroDivisionError("oh"), "unforeseen ZeroDivisionError: oh", True),
    ],
)
def test_a_failure_costs_one_cell(
    tmp_path: Path, error: Exception, message: str, unforeseen: bool
) -> None:
    done = evaluate([dataset_of(tmp_path)], [classical("majority_vote"), failing(error)])
    assert [m.method for m in done.measurements] == ["majority_vote"]
    (problem,) = done.problems
    assert (problem.dataset, problem.method) == ("set", "failing")
    assert problem.unforeseen == unforeseen
    assert re.match(message, problem.message)
    assert common_datasets(done) == ["set"]


def test_summary_counts_wins_and_tests_them(tmp_path: Path) -> None:
    datasets = [dataset_of(tmp_path, f"s{seed}", seed) for seed in range(6)]
    voted = classical("majority_vote")
    best, worst = constant("best", 1.0), constant("worst", 0.0)
    summaries = {s.method: s for s in summarise(evaluate(datasets, [voted, best, worst]))}
    assert (summaries["best"].wins, summaries["best"].losses) == (6, 0)
    assert (summaries["worst"].wins, summaries["worst"].losses) == (0, 6)
    # Six differences of one sign: one of 2^6 assignments of signs is as extreme.
    assert summaries["best"].p_value == pytest.approx(1 / 64)
    assert summaries["worst"].p_value == pytest.approx(1.0)
    assert summaries["majority_vote"].p_value is None
    assert summaries["best"].num_datasets == 6


def test_means_are_over_what_every_method_has(tmp_path: Path) -> None:
    datasets = [dataset_of(tmp_path, f"s{seed}", seed) for seed in range(3)]
    full = evaluate(datasets, [classical("majority_vote"), constant("half", 0.5)])
    kept = [m for m in full.measurements if (m.dataset, m.method) != ("s1", "half")]
    partial = replace(full, measurements=tuple(kept))
    assert common_datasets(partial) == ["s0", "s2"]
    assert "| mean of 2 |" in markdown_report(partial)
    assert "| half | 50.00 | - | 50.00 | 50.00 |" in markdown_report(partial)


def test_without_majority_voting_there_is_no_summary(tmp_path: Path) -> None:
    done = evaluate(
        [dataset_of(tmp_path)], [classical("majority_vote", max_bytes=1), constant("half", 0.5)]
    )
    assert summarise(done) == []
    text = markdown_report(done)
    assert "No data set was measured by every method." in text
    assert "- set, majority_vote: majority_vote: 120 tasks" in text


def test_published_accuracies_stand_beside_those_of_the_same_name(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("method,SET,other\nMV,50.5,1\nLAA,NaN,2\nGLAD,60,\n", encoding="utf-8")
    published = read_published_table(table)
    done = evaluate([dataset_of(tmp_path)], [classical("majority_vote"), classical("glad")])
    text = markdown_report(done, published)
    assert "| published MV | 50.50 | 50.50 |" in text
    assert "published LAA" not in text
    beside = {row["method"]: row["published_accuracy"] for row in json_records(done, published)}
    assert beside == {"majority_vote": 50.5, "glad": 60.0}
    assert all(row["published_accuracy"] is None for row in json_records(done))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "expected a column method"), ("method,s\nMV,x\n", r"MV, s: expected a number")],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_published_table(tmp_path / "t.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_published_table(tmp_path / "none.csv")
