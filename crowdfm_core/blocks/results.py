"""What blocks make of their tasks' labels, and shards of what blocks tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crowdfm_core.assignments import RankedWorkers
from crowdfm_core.blocks.messages import Message, Part, bodies
from crowdfm_core.graph import AnnotationGraph, IntArray
from crowdfm_core.inference import LabelledTasks
from crowdfm_core.scoring import ScoredTasks, ScoredWorkers, scored_tasks

__all__ = [
    "AnswerSums",
    "ScoredBlock",
    "answer_messages",
    "score_block",
    "score_workers",
    "sum_answers",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredBlock:
    """Labels of a block's tasks, how many answers each has [T], and the share equal to it [T].

    assigned: where a rule asks for it, to workers of the whole component, of which worker_ids are
    the names.
    """

    tasks: ScoredTasks
    num_answers: npt.NDArray[np.int64]
    agreement: npt.NDArray[np.float64]
    assigned: RankedWorkers | None = None
    worker_ids: Sequence[str] = ()


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
    worker = graph.workers.pair_centre[side.neighbour_pair]
    sums = [
        np.bincount(worker, values, graph.num_workers)
        for values in (labelled.own_probability, agrees)
    ]
    by_worker = np.stack(sums, axis=1).astype(np.float64)
    return [
        Message(Part(True, shard), part, AnswerSums(by_worker[here]))
        for shard, here in enumerate(workers_of_shard)
    ]


def sum_answers(
    inbox: Sequence[Message], workers_of_block: Mapping[int, IntArray], num_workers: int
) -> Floats:
    """Add up what all blocks tell of a shard's workers: as in `AnswerSums`, [W, 2]."""
    answers = np.zeros((num_workers, 2))
    for block, body in bodies(inbox, AnswerSums).items():
        answers[workers_of_block[block]] += body.sums
    return answers


def score_workers(
    ability: Floats, answers: Floats, num_annotations: npt.NDArray[np.int64]
) -> ScoredWorkers:
    """Scores from `sum_answers` and the workers' numbers of annotations [W]."""
    count = np.maximum(num_annotations, 1)
    return ScoredWorkers(
        ability=ability,
        expected_accuracy=answers[:, 0] / count,
        agreement_with_aggregate=answers[:, 1] / count,
        num_annotations=num_annotations,
    )
