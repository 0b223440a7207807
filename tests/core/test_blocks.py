"""A component in blocks and shards against the same component in one pass."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.assignments import RankedWorkers
from crowdfm_core.blocks.messages import Cut, Message, Part
from crowdfm_core.blocks.program import State, make_block_program, supersteps, what_is_read
from crowdfm_core.blocks.results import ScoredBlock
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.errors import ScoringError
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.read_outs import CALIBRATION_HEAD, PREFIX
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch, ScoredWorkers, Scorer
from crowdfm_core.weights import FrozenWeights, load_weights
from tests.core.block_batches import block_of, name


@dataclass(frozen=True)
class InParts:
    blocks: dict[int, ScoredBlock]
    tasks: dict[int, np.ndarray]  # of each block, by place in the whole
    workers: list[tuple[list[str], ScoredWorkers]]


def component(
    seed: int, *, tasks: int, workers: int, options: int, answers: int
) -> AnnotationBatch:
    """A connected crowd with unequal workers, a third of whose answers are wrong."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, options, tasks)
    task = np.repeat(np.arange(tasks), draw.poisson(answers, tasks) + 1)
    worker = (workers * draw.random(len(task)) ** 2).astype(int)
    worker[np.unique(task, return_index=True)[1]] = 0  # who answers everything connects
    right = draw.random(len(task)) < 0.4 + 0.5 * (worker % 7) / 7
    option = np.where(right, truth[task], draw.integers(0, options, len(task)))
    _, worker = np.unique(worker, return_inverse=True)
    return AnnotationBatch(
        task_index=task.astype(np.int32),
        worker_index=worker.astype(np.int32),
        option_index=option.astype(np.int32),
        task_project=np.zeros(tasks, np.int32),
        project_ids=["p"],
        num_options=np.array([options], np.int32),
        num_workers=int(worker.max()) + 1,
    )


def run_in_parts(
    weights: FrozenWeights,
    batch: AnnotationBatch,
    *,
    blocks: int,
    shards: int,
    seed: int = 0,
    order: int = 0,
    rule: AssignmentRule | None = None,
) -> InParts:
    """Run all supersteps in this process; what is sent is pickled, as between processes.

    seed: of the cut; order: seed of the order in which messages arrive; rule: of assignments.
    """
    arrival = np.random.default_rng(order)
    num_tasks = len(batch.task_project)
    sizes = ComponentSizes(
        len(batch.task_index), num_tasks, batch.num_workers, int(batch.num_options[0])
    )
    cut = Cut(blocks, shards, sizes)
    program = make_block_program(weights, num_draws=2, max_probabilities=3, assignments=rule)
    of_task = np.random.default_rng(seed).integers(0, blocks, num_tasks)
    tasks = {b: np.flatnonzero(of_task == b) for b in range(blocks) if (of_task == b).any()}
    states: dict[Part, State] = {}
    inbox: dict[Part, list[Message]] = {}

    def take(part: Part, state: State, sent: list[Message]) -> None:
        states[part] = pickle.loads(pickle.dumps(state))
        for message in pickle.loads(pickle.dumps(sent)):
            inbox.setdefault(message.to, []).append(message)

    for b, here in tasks.items():
        part = Part(is_shard=False, number=b)
        take(part, *program.start(part, cut, *block_of(batch, here), max_bytes=2**30))
    for step in supersteps(weights.config, assigns=rule is not None):
        number = shards if step.of_shards else blocks
        acting = [Part(step.of_shards, index) for index in range(number)]
        read = {part: inbox.pop(part, []) for part in acting}
        for messages in read.values():
            arrival.shuffle(messages)
        for part in acting:
            if part in states or part.is_shard:
                take(part, *program.run(step, part, cut, states.get(part), read[part]))
    return InParts(
        {
            b: program.finish_block(states[Part(False, b)], inbox.get(Part(False, b), []))
            for b in tasks
        },
        tasks,
        [
            program.finish_shard(states[Part(True, s)], inbox.get(Part(True, s), []))
            for s in range(shards)
        ],
    )


def expect_equal(whole: ScoredBatch, parts: InParts, batch: AnnotationBatch) -> None:
    seen, all_sure = np.zeros(len(whole.label_index), bool), True
    answers = np.bincount(batch.task_index)
    for b, scored in parts.blocks.items():
        here, tasks = parts.tasks[b], scored.tasks
        seen[here] = True
        np.testing.assert_allclose(tasks.probability, whole.probability[here], atol=2e-5)
        np.testing.assert_allclose(tasks.difficulty, whole.difficulty[here], atol=2e-4)
        np.testing.assert_allclose(tasks.entropy, whole.entropy[here], atol=1e-4)
        sure = whole.probability[here] - whole.runner_up_probability[here] > 1e-4
        all_sure &= bool(sure.all())
        np.testing.assert_array_equal(tasks.label_index[sure], whole.label_index[here][sure])
        np.testing.assert_array_equal(scored.num_answers, answers[here])
        agrees = batch.option_index == whole.label_index[batch.task_index]
        agreement = np.bincount(batch.task_index, agrees) / answers
        np.testing.assert_allclose(scored.agreement[sure], agreement[here][sure])
    assert seen.all()
    names = [name for ids, _ in parts.workers for name in ids]
    order = np.argsort(names)
    assert [names[i] for i in order] == [name(w) for w in range(batch.num_workers)]
    for field, tolerance in (
        ("ability", 2e-4),
        ("expected_accuracy", 2e-5),
        # A label between two options that are all but equal may be either.
        ("agreement_with_aggregate", 1e-12 if all_sure else 1.0),
        ("num_annotations", 0),
    ):
        values = np.concatenate([getattr(workers, field) for _, workers in parts.workers])
        np.testing.assert_allclose(values[order], getattr(whole, field), atol=tolerance)


WEIGHTS = {name: load_weights(name) for name in ("default", "attention")}


@pytest.mark.parametrize(
    ("options", "blocks", "shards"),
    [(2, 1, 1), (5, 3, 2), (5, 4, 7), (40, 3, 2)],  # above 16 options projects are tied
)
@pytest.mark.parametrize("name", WEIGHTS)
def test_blocks_equal_the_whole(name: str, options: int, blocks: int, shards: int) -> None:
    weights = WEIGHTS[name]
    batch = component(7, tasks=400, workers=60, options=options, answers=5)
    whole = Scorer(weights, num_draws=2, max_probabilities=3).score(batch)
    parts = run_in_parts(weights, batch, blocks=blocks, shards=shards)
    expect_equal(whole, parts, batch)


@settings(max_examples=15)
@given(
    name=st.sampled_from(sorted(WEIGHTS)),
    seed=st.integers(0, 1_000),
    tasks=st.integers(1, 60),
    workers=st.integers(1, 30),
    options=st.sampled_from([2, 3, 17, 200]),
    answers=st.integers(1, 12),
    blocks=st.integers(1, 9),
    shards=st.integers(1, 9),
)
def test_any_cut_equals_the_whole(
    name: str,
    seed: int,
    tasks: int,
    workers: int,
    options: int,
    answers: int,
    blocks: int,
    shards: int,
) -> None:
    """Also where blocks have one task or none, and shards no worker."""
    weights = WEIGHTS[name]
    batch = component(seed, tasks=tasks, workers=workers, options=options, answers=answers)
    rule = AssignmentRule(3, max_probability=0.9) if name == "default" else None
    scorer = Scorer(weights, num_draws=2, max_probabilities=3, assignments=rule)
    whole = scorer.score(batch)
    parts = run_in_parts(weights, batch, blocks=blocks, shards=shards, seed=seed, rule=rule)
    expect_equal(whole, parts, batch)
    if rule is not None:
        expect_same_assignments(whole, parts, rule)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_same_cut_gives_the_same_bits(name: str) -> None:
    """In whatever order messages arrive, on whatever machine a part runs again."""
    batch = component(3, tasks=200, workers=40, options=4, answers=6)
    first, again = (
        run_in_parts(WEIGHTS[name], batch, blocks=3, shards=2, order=order) for order in (0, 1)
    )
    for b, scored in first.blocks.items():
        np.testing.assert_array_equal(scored.tasks.probability, again.blocks[b].tasks.probability)
    for (_, workers), (_, other) in zip(first.workers, again.workers, strict=True):
        np.testing.assert_array_equal(workers.ability, other.ability)


def test_blocks_calibrate_by_the_whole_component() -> None:
    """With a head whose factor moves with how sure the whole component is."""
    own = f"{PREFIX}{CALIBRATION_HEAD}"
    heads = {n: t for n, t in WEIGHTS["default"].heads.items() if not n.startswith(own)}
    heads[f"{own}.weight"] = np.array([0, 0, 2, -1, 0.5], np.float32)
    heads[f"{own}.bias"] = np.array([-0.7], np.float32)
    weights = replace(WEIGHTS["default"], heads=heads)
    batch = component(7, tasks=300, workers=40, options=3, answers=4)
    whole = Scorer(weights, num_draws=2, max_probabilities=3).score(batch)
    plain = Scorer(WEIGHTS["default"], num_draws=2, max_probabilities=3).score(batch)
    assert np.abs(whole.probability - plain.probability).max() > 0.01
    expect_equal(whole, run_in_parts(weights, batch, blocks=3, shards=2), batch)


@pytest.mark.parametrize(
    ("options", "blocks", "shards"), [(2, 1, 1), (5, 3, 2), (5, 4, 7), (40, 3, 2)]
)
def test_blocks_assign_their_tasks_as_the_whole_does(
    options: int, blocks: int, shards: int
) -> None:
    """To workers of all shards, also those who answered nothing in the block."""
    weights, rule = WEIGHTS["default"], AssignmentRule(workers_per_task=4, max_probability=0.9)
    batch = component(7, tasks=300, workers=40, options=options, answers=5)
    scorer = Scorer(weights, num_draws=2, max_probabilities=3, assignments=rule)
    whole = scorer.score(batch)
    parts = run_in_parts(weights, batch, blocks=blocks, shards=shards, rule=rule)
    expect_equal(whole, parts, batch)
    expect_same_assignments(whole, parts, rule)
    assert whole.assigned is not None
    assert 10 < len(set(whole.assigned.task_index)) < 300


def expect_same_assignments(whole: ScoredBatch, parts: InParts, rule: AssignmentRule) -> None:
    assert whole.assigned is not None
    expected = assigned_workers(whole.assigned, [name(w) for w in range(len(whole.ability))])
    found: dict[int, list[tuple[str, float]]] = {}
    for b, scored in parts.blocks.items():
        assert scored.assigned is not None
        own = assigned_workers(scored.assigned, scored.worker_ids)
        found |= {int(parts.tasks[b][task]): workers for task, workers in own.items()}
    near = set(np.flatnonzero(np.abs(whole.probability - rule.max_probability) < 1e-4))
    assert set(expected) - near == set(found) - near
    for task in expected.keys() & found.keys():
        ours, theirs = found[task], expected[task]
        assert len(ours) == len(theirs)
        value, other = (np.array([value for _, value in ranked]) for ranked in (ours, theirs))
        np.testing.assert_allclose(value, other, atol=2e-4)
        # Workers who suit the task all but equally may change places, or take the last one.
        if np.abs(np.diff(other)).min(initial=1.0) > 1e-3:
            assert [w for w, _ in ours][:-1] == [w for w, _ in theirs][:-1]


def assigned_workers(
    ranked: RankedWorkers, names: Sequence[str]
) -> dict[int, list[tuple[str, float]]]:
    """By task, best first, with their compatibility."""
    found: dict[int, list[tuple[str, float]]] = {}
    columns = ranked.task_index, ranked.rank, ranked.worker_index, ranked.compatibility
    for task, rank, worker, value in zip(*columns, strict=True):
        workers = found.setdefault(int(task), [])
        workers.append((names[worker], float(value)))
        assert rank == len(workers)
    return found


def test_blocks_of_weights_that_cannot_assign_are_refused() -> None:
    with pytest.raises(ScoringError, match="no compatibility head"):
        make_block_program(
            WEIGHTS["attention"], num_draws=1, max_probabilities=3, assignments=AssignmentRule()
        )


@pytest.mark.parametrize(
    ("config", "assigns"),
    [
        (UnrolledConfig(layers=1), False),
        (UnrolledConfig(layers=3), False),
        (UnrolledConfig(layers=3), True),
        (AttentionConfig(layers=1), False),
    ],
)
def test_every_superstep_is_read_once_by_blocks_and_once_by_shards(
    config: UnrolledConfig | AttentionConfig, assigns: bool
) -> None:
    """In order, and by those who take part before they do so again: their state is among it."""
    steps = supersteps(config, assigns=assigns)
    of_step, in_the_end = what_is_read(steps)
    for shards in (False, True):
        own = [number for number, step in enumerate(steps, 1) if step.of_shards == shards]
        windows = [*(of_step[number - 1] for number in own), in_the_end[shards]]
        assert [n for window in windows for n in window] == list(range(len(steps) + 1))
        assert [window.start for window in windows] == [0, *own]
