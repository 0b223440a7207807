"""Majority voting on arrays, with ties."""

from __future__ import annotations

import numpy as np

from crowdfm_core.methods.majority_vote import count_votes

# (task, option), one row per annotation
ANNOTATIONS = np.array(
    [
        (0, 2),  # task 0: option 2 wins with two votes of three
        (0, 1),
        (0, 2),
        (1, 3),  # task 1: options 0 and 3 tie
        (1, 0),
        (3, 1),  # task 3: a single vote; task 2 has none
    ]
)
VOTES = count_votes(ANNOTATIONS[:, 0], ANNOTATIONS[:, 1], num_tasks=4)


def test_labels_take_the_smallest_option_of_a_tie() -> None:
    np.testing.assert_array_equal(VOTES.labels(), [2, 0, -1, 1])


def test_credit_is_shared_in_a_tie() -> None:
    np.testing.assert_array_equal(VOTES.credit(np.array([2, 3, 0, 0])), [1, 0.5, 0, 0])


def test_credit_of_a_truth_that_nobody_answered_is_zero() -> None:
    np.testing.assert_array_equal(VOTES.credit(np.array([-1, 7, -1, -1])), [0, 0, 0, 0])


def test_votes_equal_a_dense_count() -> None:
    rng = np.random.default_rng(11)
    task, option = rng.integers(0, 30, 400), rng.integers(0, 5, 400)
    dense = np.zeros((30, 5), int)
    np.add.at(dense, (task, option), 1)
    votes = count_votes(task, option, num_tasks=30)
    np.testing.assert_array_equal(dense[votes.pair_task, votes.pair_option], votes.pair_votes)
    assert votes.pair_votes.sum() == 400
    np.testing.assert_array_equal(votes.labels(), dense.argmax(1))


def test_no_annotations_give_no_labels() -> None:
    nothing = np.zeros(0, np.int32)
    np.testing.assert_array_equal(count_votes(nothing, nothing, num_tasks=2).labels(), [-1, -1])
