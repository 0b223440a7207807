"""What heads are fitted and measured on: the frozen encoder's view of fresh synthetic crowds.

Letters: N rows (workers, tasks or pairs), D width of an embedding, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.compatibility import class_skill, crowd_log_odds
from crowdfm_core.pretraining.objective import Tensors, outputs_of
from crowdfm_core.pretraining.packing import PackedCrowds, pack_crowds, stream_rng
from crowdfm_core.pretraining.recipe import Recipe
from crowdfm_core.simulation import SimulatedCrowd

__all__ = [
    "PairRows",
    "Rows",
    "draw_pairs",
    "draw_rows",
    "draws",
    "hidden_annotations",
    "hold_out",
    "some_of_each",
]

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

ROWS_PER_CROWD = 200  # so that large crowds do not drown small ones
HELD_OUT_SHARE = 0.2
_CROWDS_PER_PACK = 8


@dataclass(frozen=True)
class Rows:
    """Workers with their ability, or tasks with their difficulty: at most 200 of each crowd."""

    embeddings: FloatArray  # [N, D]
    truth: FloatArray  # [N]
    known: FloatArray  # [N, 4] counts of right answers by the true labels, see `_known`
    crowd: IntArray  # [N]
    mechanism: IntArray  # [N] place among the recipe's mechanisms
    num_annotations: IntArray  # [N]


@dataclass(frozen=True)
class PairRows:
    """Pairs of a worker and a task whose answer the encoder has not seen."""

    workers: FloatArray  # [N, D]
    tasks: FloatArray  # [N, D']
    class_skill: FloatArray  # [N] sum over options of posterior times log odds of recall
    crowd_log_odds: FloatArray  # [N] of the expected accuracy of the component's annotations
    is_right: npt.NDArray[np.bool_]  # [N]
    is_balanced: npt.NDArray[np.bool_]  # [N] whether balanced filtering keeps the pair
    crowd: IntArray  # [N]
    mechanism: IntArray  # [N]


_AnyRows = TypeVar("_AnyRows", Rows, PairRows)


def draw_rows(
    recipe: Recipe, weights: Tensors, ops: TorchOps, *, first: int, num_crowds: int
) -> dict[str, Rows]:
    """Rows of `ability` and `difficulty` from the crowds at positions first, first + 1, ...

    Workers or tasks of mechanisms without the parameter are left out.
    """
    parts: dict[str, list[Rows]] = {"ability": [], "difficulty": []}
    for rng, crowds, mechanism, position in draws(recipe, first, num_crowds):
        packed = pack_crowds(crowds, rng, model=recipe.model)
        outputs = outputs_of(recipe, weights, packed, ops)
        for name, embeddings, crowd, parameter in (
            ("ability", outputs.workers, packed.worker_crowd, "worker_ability"),
            ("difficulty", outputs.tasks, packed.task_crowd, "task_difficulty"),
        ):
            truth = np.concatenate([getattr(each, parameter) for each in crowds])
            known = np.concatenate([_known(each)[name] for each in crowds])
            kept = some_of_each(rng, crowd, np.isfinite(truth))
            parts[name].append(
                Rows(
                    embeddings=embeddings.cpu().numpy()[kept],
                    truth=truth[kept],
                    known=known[kept],
                    crowd=crowd[kept] + position,
                    mechanism=mechanism[crowd[kept]],
                    num_annotations=np.expm1(known[kept, 1]).round().astype(np.int64),
                )
            )
    return {name: _joined(found) for name, found in parts.items()}


def draw_pairs(
    recipe: Recipe, weights: Tensors, ops: TorchOps, *, first: int, num_crowds: int
) -> PairRows:
    """Pairs whose annotations were held out, at most 200 of each crowd."""
    parts: list[PairRows] = []
    for rng, crowds, mechanism, position in draws(recipe, first, num_crowds):
        seen, hidden = zip(*(hold_out(crowd, rng) for crowd in crowds), strict=True)
        packed = pack_crowds(list(seen), rng, model=recipe.model)
        assert packed.layout is not None  # only unrolled models have this head
        outputs = outputs_of(recipe, weights, packed, ops)
        task, worker, is_right, crowd = _pairs(crowds, hidden, packed)
        kept = some_of_each(rng, crowd, np.ones(len(crowd), bool))
        task, worker, is_right, crowd = task[kept], worker[kept], is_right[kept], crowd[kept]
        posterior = _posterior(outputs.logits[-1], packed)
        recall, belief = class_skill(packed.layout, posterior)
        odds = crowd_log_odds(packed.layout, posterior)[packed.layout.component_of_task]
        parts.append(
            PairRows(
                workers=outputs.workers.cpu().numpy()[worker],
                tasks=outputs.tasks.cpu().numpy()[task],
                class_skill=(recall[worker] * belief[task]).sum(axis=1),
                crowd_log_odds=odds[task],
                is_right=is_right,
                is_balanced=_balanced(rng, crowd, is_right),
                crowd=crowd + position,
                mechanism=mechanism[crowd],
            )
        )
    return _joined(parts)


def hold_out(
    crowd: SimulatedCrowd, rng: np.random.Generator
) -> tuple[SimulatedCrowd, npt.NDArray[np.bool_]]:
    """The crowd without its hidden annotations, and which they are, bool [E]."""
    hidden = hidden_annotations(crowd.task_index, crowd.worker_index, rng)
    seen = replace(
        crowd,
        task_index=crowd.task_index[~hidden],
        worker_index=crowd.worker_index[~hidden],
        option_index=crowd.option_index[~hidden],
    )
    return seen, hidden


def hidden_annotations(
    task_index: IntArray, worker_index: IntArray, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Choose a fifth of the annotations [E], given the task and the worker of each.

    One annotation of every task and of every worker, drawn at random, is never chosen.
    """
    order = rng.permutation(len(task_index))
    stays = np.zeros(len(order), bool)
    for index in (task_index, worker_index):
        stays[order[np.unique(index[order], return_index=True)[1]]] = True
    hidden: npt.NDArray[np.bool_] = ~stays & (rng.random(len(order)) < HELD_OUT_SHARE)
    return hidden


def draws(
    recipe: Recipe, first: int, num_crowds: int
) -> Iterator[tuple[np.random.Generator, list[SimulatedCrowd], IntArray, int]]:
    """Crowds by the pack, with the mechanism of each and the position of the first."""
    shares = np.array([mechanism.share for mechanism in recipe.mechanisms])
    for position in range(first, first + num_crowds, _CROWDS_PER_PACK):
        rng = stream_rng(recipe.seed, "heads", position)
        number = min(_CROWDS_PER_PACK, first + num_crowds - position)
        mechanism = rng.choice(len(shares), number, p=shares / shares.sum())
        crowds = [recipe.mechanisms[index].crowds.sample(rng) for index in mechanism]
        yield rng, crowds, mechanism, position


def _known(crowd: SimulatedCrowd) -> dict[str, FloatArray]:
    """Log odds of right answers, log counts, the crowd's log odds, and how good the others are
    that a worker or task meets: what the true labels tell of workers [W, 4] and tasks [T, 4]."""
    right = crowd.option_index == crowd.true_option[crowd.task_index]
    overall = (right.sum() + 1.0) / (len(right) + 2.0)
    sides = {
        "ability": (crowd.worker_index, crowd.num_workers),
        "difficulty": (crowd.task_index, crowd.num_tasks),
    }
    share, count = {}, {}
    for name, (index, number) in sides.items():
        count[name] = np.bincount(index, minlength=number)
        share[name] = (np.bincount(index, right, number) + 2.0 * overall) / (count[name] + 2.0)
    known = {}
    for name, other in (("ability", "difficulty"), ("difficulty", "ability")):
        index, number = sides[name]
        met = np.bincount(index, share[other][sides[other][0]], number)
        columns = [
            _log_odds(share[name]),
            np.log1p(count[name]),
            np.full(number, _log_odds(np.asarray(overall))),
            _log_odds(met / np.maximum(count[name], 1)),
        ]
        known[name] = np.stack(columns, axis=1)
    return known


def _log_odds(share: FloatArray) -> FloatArray:
    share = np.clip(share, 1e-4, 1.0 - 1e-4)
    return np.asarray(np.log(share / (1.0 - share)))


def _pairs(
    crowds: list[SimulatedCrowd],
    hidden: tuple[npt.NDArray[np.bool_], ...],
    packed: PackedCrowds,
) -> tuple[IntArray, IntArray, npt.NDArray[np.bool_], IntArray]:
    """Task, worker, rightness and crowd of every hidden annotation, in the pack's numbering."""
    first_task = np.searchsorted(packed.task_crowd, np.arange(len(crowds)))
    first_worker = np.searchsorted(packed.worker_crowd, np.arange(len(crowds)))
    columns: list[list[npt.NDArray[Any]]] = [[], [], [], []]
    for place, (each, out) in enumerate(zip(crowds, hidden, strict=True)):
        task = each.task_index[out]
        columns[0].append(task + first_task[place])
        columns[1].append(each.worker_index[out] + first_worker[place])
        columns[2].append(each.option_index[out] == each.true_option[task])
        columns[3].append(np.full(len(task), place))
    task, worker, is_right, crowd = (np.concatenate(column) for column in columns)
    # Without the hidden annotations a crowd may fall apart; nothing is known across components.
    layout = packed.layout
    assert layout is not None
    met = layout.component_of_task[task] == layout.component_of_worker[worker]
    return task[met], worker[met], is_right[met], crowd[met]


def some_of_each(
    rng: np.random.Generator, crowd: IntArray, usable: npt.NDArray[np.bool_]
) -> IntArray:
    """Places of at most ROWS_PER_CROWD usable rows of each crowd, drawn at random, ascending."""
    order = rng.permutation(np.flatnonzero(usable))
    return np.sort(order[_place_in_group(crowd[order]) < ROWS_PER_CROWD])


def _balanced(
    rng: np.random.Generator, crowd: IntArray, is_right: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Keep, of each crowd, as many right as wrong pairs: all of the rarer kind."""
    order = rng.permutation(len(crowd))
    place = np.empty(len(crowd), np.int64)
    place[order] = _place_in_group((2 * crowd + is_right)[order])
    number = int(crowd.max(initial=-1)) + 1
    right = np.bincount(crowd, is_right, number)
    fewest = np.minimum(right, np.bincount(crowd, minlength=number) - right)
    kept: npt.NDArray[np.bool_] = place < fewest[crowd]
    return kept


def _place_in_group(group: IntArray) -> IntArray:
    """How many earlier rows have the same group, int [N]."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return place


def _posterior(logits: torch.Tensor, packed: PackedCrowds) -> npt.NDArray[np.float64]:
    """Softmax of the logits [C] over each task's candidates."""
    values = logits.cpu().numpy().astype(np.float64)
    start = np.searchsorted(packed.candidate_task, np.arange(packed.graph.num_tasks))
    values = np.exp(values - np.maximum.reduceat(values, start)[packed.candidate_task])
    return np.asarray(values / np.add.reduceat(values, start)[packed.candidate_task])


def _joined(parts: list[_AnyRows]) -> _AnyRows:
    return type(parts[0])(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    )
