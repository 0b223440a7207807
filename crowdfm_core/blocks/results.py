"""What a block makes of its tasks' labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crowdfm_core.blocks.messages import Message, Part
from crowdfm_core.graph import AnnotationGraph, IntArray
from crowdfm_core.inference import LabelledTasks
from crowdfm_core.scoring import ScoredTasks, scored_tasks

__all__ = ["AnswerSums", "ScoredBlock", "answer_messages", "score_block"]


@dataclass(frozen=True)
class ScoredBlock:
    """Labels of a block's tasks, how many answers each has [T], and the share equal to it [T]."""

    tasks: ScoredTasks
    num_answers: npt.NDArray[np.int64]
    agreement: npt.NDArray[np.float64]


@dataclass(frozen=True)
class AnswerSums:
    """From a block to a shard: per shared worker, in the order in which the block named them, sums
    over its answers of their probability and of agreement with the label, [., 2]."""

    sums: npt.NDArray[np.float64]


def score_block(labelled: LabelledTasks, graph: AnnotationGraph) -> ScoredBlock:
    """Number the options within the project; count answers and how many equal the label."""
    side = graph.tasks
    answers = side.degree.astype(np.int64)
    is_label = side.pair_option == labelled.label[side.pair_centre]
    agrees = np.where(is_label, np.diff(side.entry_start), 0)
    agreement = np.bincount(side.pair_centre, agrees, graph.num_tasks) / np.maximum(answers, 1)
    return ScoredBlock(scored_tasks(labelled, graph), answers, agreement)


def answer_messages(
    part: Part, graph: AnnotationGraph, labelled: LabelledTasks, workers_of_shard: list[IntArray]
) -> list[Message]:
    """Tell every shard what the labels say of its workers' answers."""
    side = graph.tasks
    size = np.diff(side.entry_start)
    option = np.repeat(side.pair_option, size)
    agrees = option == np.repeat(labelled.label[side.pair_centre], size)
    sums = [
        np.bincount(side.neighbour, values, graph.num_workers)
        for values in (labelled.own_probability, agrees)
    ]
    by_worker = np.stack(sums, axis=1).astype(np.float64)
    return [
        Message(Part(True, shard), part, AnswerSums(by_worker[here]))
        for shard, here in enumerate(workers_of_shard)
    ]
