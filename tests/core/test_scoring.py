"""Scoring: against the equations written out, and the same however a batch is put together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from crowdfm_core import CrowdFM
from crowdfm_core.errors import ConfigError, InputError, ScoringError
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.options import option_vectors
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch, Scorer
from crowdfm_core.weights import FrozenWeights
from tests.core.direct import direct_forward
from tests.core.test_attention import random_tensors

CONFIG = AttentionConfig(width=6, layers=3, heads=2, output_bias="log_annotations")
HEADS = {
    "heads.ability.weight": np.arange(6.0),
    "heads.ability.bias": np.ones(1),
    "heads.difficulty.weight": np.arange(6.0),
    "heads.difficulty.bias": np.ones(1),
}
WEIGHTS = FrozenWeights(CONFIG, random_tensors(CONFIG, 1), HEADS, sha256="test")


def project(seed: int, name: str, num_options: int) -> AnnotationBatch:
    """20 tasks, 5 workers, 80 annotations; every task and worker has one."""
    rng = np.random.default_rng(seed)
    return AnnotationBatch(
        task_index=np.arange(80, dtype=np.int32) % 20,
        worker_index=rng.permutation(np.arange(80, dtype=np.int32) % 5),
        option_index=rng.integers(0, num_options, 80).astype(np.int32),
        task_project=np.zeros(20, np.int32),
        project_ids=[name],
        num_options=np.array([num_options], np.int32),
        num_workers=5,
    )


def packed(first: AnnotationBatch, second: AnnotationBatch) -> AnnotationBatch:
    return AnnotationBatch(
        task_index=np.concatenate([first.task_index, second.task_index + 20]),
        worker_index=np.concatenate([first.worker_index, second.worker_index + 5]),
        option_index=np.concatenate([first.option_index, second.option_index]),
        task_project=np.repeat(np.array([0, 1], np.int32), 20),
        project_ids=[*first.project_ids, *second.project_ids],
        num_options=np.concatenate([first.num_options, second.num_options]),
        num_workers=10,
    )


def probabilities(scored: ScoredBatch, num_options: int) -> np.ndarray:
    dense = np.zeros((len(scored.label_index), num_options))
    rows = np.repeat(np.arange(len(dense)), np.diff(scored.top_offsets))
    dense[rows, scored.top_option_index] = scored.top_probability
    return dense


def test_scores_equal_the_equations_averaged_over_draws() -> None:
    batch = project(1, "p", 3)
    scored = Scorer(WEIGHTS, num_draws=2).score(batch)
    expected, ability = np.zeros((20, 3)), np.zeros(5)
    for draw in range(2):
        logits, workers, _ = direct_forward(
            CONFIG,
            WEIGHTS.tensors,
            batch.task_index,
            batch.worker_index,
            batch.option_index,
            option_vectors("test", "p", draw, 3, 6),
            num_tasks=20,
            num_workers=5,
        )
        exponential = np.exp(logits - logits.max(1, keepdims=True))
        expected += exponential / exponential.sum(1, keepdims=True) / 2
        ability += (workers @ np.arange(6.0) + 1) / 2
    np.testing.assert_allclose(probabilities(scored, 3), expected, atol=1e-5)
    np.testing.assert_array_equal(scored.label_index, expected.argmax(1))
    np.testing.assert_allclose(scored.entropy, -(expected * np.log(expected)).sum(1), atol=1e-5)
    np.testing.assert_allclose(scored.ability, ability, atol=1e-4)
    own = expected[batch.task_index, batch.option_index]
    accuracy = np.bincount(batch.worker_index, own) / 16
    np.testing.assert_allclose(scored.expected_accuracy, accuracy, atol=1e-5)


@pytest.mark.parametrize("other_options", [1, 3, 400])
def test_projects_packed_together_score_as_alone_to_the_last_bit(other_options: int) -> None:
    """A night on which another project came in must not touch the rows of this one."""
    config = AttentionConfig(width=32, layers=3, heads=4, output_bias="log_annotations")
    heads = {name: np.resize(value, 32) for name, value in HEADS.items() if "weight" in name}
    heads |= {name: value for name, value in HEADS.items() if "bias" in name}
    weights = FrozenWeights(config, random_tensors(config, 1), heads, sha256="test")
    scorer = Scorer(weights, num_draws=2)
    first, second = project(1, "p", 1), project(2, "q", other_options)
    both = scorer.score(packed(first, second))
    for batch, tasks, workers in (
        (first, slice(20), slice(5)),
        (second, slice(20, 40), slice(5, 10)),
    ):
        alone = scorer.score(batch)
        for name in ("label_index", "probability", "entropy", "difficulty"):
            np.testing.assert_array_equal(getattr(both, name)[tasks], getattr(alone, name), name)
        for name in ("ability", "expected_accuracy"):
            np.testing.assert_array_equal(getattr(both, name)[workers], getattr(alone, name), name)


def test_row_order_and_repetition_leave_no_trace() -> None:
    batch = project(1, "p", 3)
    order = np.random.default_rng(5).permutation(80)
    shuffled = dataclasses.replace(
        batch,
        task_index=batch.task_index[order],
        worker_index=batch.worker_index[order],
        option_index=batch.option_index[order],
    )
    scorer = Scorer(WEIGHTS)
    first, second = scorer.score(batch), scorer.score(shuffled)
    for field in dataclasses.fields(ScoredBatch):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_long_option_lists_are_cut_to_the_most_probable() -> None:
    scored = Scorer(WEIGHTS, max_probabilities=4).score(project(3, "p", 60))
    full = Scorer(WEIGHTS, max_probabilities=60).score(project(3, "p", 60))
    assert np.diff(scored.top_offsets).tolist() == [4] * 20
    expected = -np.sort(-probabilities(full, 60), axis=1)[:, :4]
    np.testing.assert_allclose(scored.top_probability.reshape(20, 4), expected, atol=1e-12)


def test_single_option_is_certain_and_has_no_runner_up() -> None:
    scored = Scorer(WEIGHTS).score(project(1, "p", 1))
    assert scored.probability.tolist() == pytest.approx([1.0] * 20)
    assert set(scored.runner_up_index) == {-1}
    assert scored.entropy.tolist() == pytest.approx([0.0] * 20)


def test_option_outside_its_project_is_refused_by_name() -> None:
    batch = dataclasses.replace(project(1, "birds", 3), num_options=np.array([2], np.int32))
    with pytest.raises(ScoringError, match="project 'birds': expected option_index below 2, got 2"):
        Scorer(WEIGHTS).score(batch)


def test_option_vectors_are_standard_normal_and_do_not_depend_on_their_number() -> None:
    many = option_vectors("w", "p", 0, 5000, 7)
    np.testing.assert_array_equal(option_vectors("w", "p", 0, 3, 7), many[:3])
    assert abs(many.mean()) < 4 / np.sqrt(many.size)
    assert abs(many.std() - 1) < 4 / np.sqrt(2 * many.size)
    assert not np.array_equal(option_vectors("w", "q", 0, 3, 7), many[:3])
    # The stream is part of the published result: these numbers must never change.
    np.testing.assert_allclose(
        option_vectors("weights", "project", 1, 1, 3), PINNED_VECTOR, atol=1e-15
    )


PINNED_VECTOR = [[-0.38045004113525754, 1.909821031054803, 1.4527196954206714]]


def test_estimator_labels_frames_with_any_kind_of_key() -> None:
    frame = pd.DataFrame(
        {
            "task": ["t1"] * 5 + ["t2"] * 5,
            "worker": [*"abcde", *"abcde"],
            "label": [*["cat"] * 4, "dog", *["dog"] * 5],
        }
    )
    model = CrowdFM()
    assert model.fit_predict(frame).to_dict() == {"t1": "cat", "t2": "dog"}
    proba = model.fit_predict_proba(frame)
    assert list(proba.columns) == ["cat", "dog"]
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    assert model.skills_["e"] < model.skills_["a"]


def test_estimator_assigns_to_those_who_have_not_answered() -> None:
    """The task that a alone answered goes to the others, and to the odd one out last."""
    frame = pd.DataFrame(
        [(f"t{t}", w, "dog" if w == "e" else "cat") for t in range(8) for w in "abcde"]
        + [("alone", "a", "cat")],
        columns=["task", "worker", "label"],
    )
    model = CrowdFM()
    assigned = model.assign(frame, workers_per_task=4, max_probability=1.0)
    assert set(assigned["task"]) == {"alone"}
    assert assigned["rank"].tolist() == [1, 2, 3, 4]
    assert set(assigned["worker"]) == {"b", "c", "d", "e"}
    assert assigned["worker"].iloc[-1] == "e"
    assert assigned["compatibility"].is_monotonic_decreasing
    doubt = float(model.probas_.max(axis=1)["alone"])
    assert model.assign(frame, workers_per_task=1, max_probability=1.0)["task"].tolist() == [
        "alone"
    ]
    assert model.assign(frame, max_probability=doubt - 0.01).empty
    with pytest.raises(ConfigError, match="workers_per_task: expected 1 to 20, got 0"):
        model.assign(frame, workers_per_task=0)
    with pytest.raises(ScoringError, match="no compatibility head"):
        CrowdFM("attention").assign(frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"task": [1], "worker": [1]}), r"missing \['label'\]"),
        (pd.DataFrame({"task": [], "worker": [], "label": []}), "empty frame"),
        (
            pd.DataFrame({"task": [1, 2], "worker": [1, 1], "label": ["a", None]}),
            "'label': expected no nulls, got 1 of 2",
        ),
    ],
)
def test_frame_that_cannot_be_used_is_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CrowdFM().fit_predict(frame)
