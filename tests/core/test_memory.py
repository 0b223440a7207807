"""The estimate of a batch's memory is an upper bound that is not far off, and refuses in time."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from crowdfm_core.candidates import CandidateGraph
from crowdfm_core.errors import ScoringError
from crowdfm_core.graph import AnnotationGraph
from crowdfm_core.memory import bytes_to_score, count_states
from crowdfm_core.scoring import AnnotationBatch, Scorer
from crowdfm_core.weights import load_weights
from tests.core.block_batches import batch_of

MIB = 2**20
T = TypeVar("T")

# Peaks are of a process of its own: what was freed before is used again.
_MEASURE = """
import sys
from crowdfm_core.memory import bytes_to_score
from crowdfm_core.scoring import Scorer
from crowdfm_core.weights import load_weights
from tests.core.block_batches import batch_of
from tests.core.test_memory import bytes_of, graph_of

name, *sizes = sys.argv[1], *map(int, sys.argv[2:])
weights = load_weights(name)
scorer = Scorer(weights, num_draws=1, num_threads=1)
scorer.score(batch_of(200, 50, 20, 3))
batch = batch_of(*sizes)
before = bytes_of("VmHWM")
scorer.score(batch)
print(bytes_of("VmHWM") - before, bytes_to_score(weights.config, graph_of(batch)))
"""

# A component that is one block and one shard; what a superstep reads arrives pickled.
_MEASURE_BLOCK = """
import pickle, sys
from crowdfm_core.blocks.messages import Cut, Part
from crowdfm_core.blocks.program import make_block_program, supersteps
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.memory import bytes_to_score
from crowdfm_core.weights import load_weights
from tests.core.block_batches import batch_of
from tests.core.test_memory import graph_of, measured

def run(sizes):
    batch, names = batch_of(*sizes), [f"w{i}" for i in range(sizes[2])]
    cut = Cut(1, 1, ComponentSizes(*sizes))
    block, shard = (Part(is_shard, 0) for is_shard in (False, True))
    start = lambda: program.start(block, cut, batch, names, max_bytes=2**40)
    peak, (state, sent) = measured(start)
    peaks, states, mail = [peak], {block: pickle.dumps(state)}, {block: [], shard: []}
    del start, batch, state

    def read(part):
        inbox, mail[part] = mail[part], []
        state = states.get(part)
        return state and pickle.loads(state), [pickle.loads(message) for message in inbox]

    for step in supersteps(weights.config):
        for message in sent:
            mail[message.to].append(pickle.dumps(message))
        del sent[:]
        part = shard if step.of_shards else block
        peak, (state, sent) = measured(lambda: program.run(step, part, cut, *read(part)))
        peaks += [] if step.of_shards else [peak]
        states[part] = pickle.dumps(state)
        del state
    for message in sent:
        mail[message.to].append(pickle.dumps(message))
    peak, _ = measured(lambda: program.finish_block(*read(block)))
    return max(peaks + [peak])

name, *sizes = sys.argv[1], *map(int, sys.argv[2:])
weights = load_weights(name)
program = make_block_program(weights, num_draws=1, max_probabilities=50)
run((200, 50, 20, 3))
print(run(sizes), bytes_to_score(weights.config, graph_of(batch_of(*sizes)), as_block=True))
"""

# A task that has all parts of a component, four blocks and two shards; its rows lie in a file, as
# they arrive batch by batch, and in any order.
_MEASURE_TOGETHER = """
import sys, tempfile
from collections import deque
from types import SimpleNamespace
import pyarrow as pa
from crowdfm_core.blocks.messages import Cut
from crowdfm_core.blocks.plan import bytes_together
from crowdfm_core.blocks.program import supersteps
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.weights import load_weights
from tests.core.block_batches import batch_of, rows_of
from tests.core.test_memory import measured
from udfs.blocks import CutComponent, FrozenModel, Nodes
from udfs.blocks_together import Parts

def run(sizes):
    cut = Cut(4, 2, ComponentSizes(*sizes))
    nodes = Nodes([CutComponent("large", "c", cut, first_block=0, first_shard=4)])
    batch = batch_of(*sizes)
    rows = rows_of(batch, block=batch.task_index % 4, blocks=4)
    file = tempfile.mkstemp()[1]
    with pa.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=10_000)
    del batch, rows

    def score():
        parts = Parts(nodes, model, SimpleNamespace(number=0, count=1, finish=lambda _: []))
        parts.start(pa.ipc.open_stream(file), max_bytes=2**40)
        for number, step in enumerate(supersteps(weights.config), start=1):
            parts.advance(step, number)
        deque(parts.finish(), maxlen=0)

    peak, _ = measured(score)
    return peak, bytes_together(weights.config, [cut], 1, num_draws=1)

name, *sizes = sys.argv[1], *map(int, sys.argv[2:])
weights = load_weights(name)
model = FrozenModel(name, weights.sha256, num_draws=1, max_probabilities=50)
run((200, 50, 20, 3))
print(*run(sizes))
"""


def bytes_of(field: str) -> int:
    """A figure of this process. Peaks are not of getrusage, whose begins with that of the process
    which started this one."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return 1024 * int(found[1])


def measured(action: Callable[[], T]) -> tuple[int, T]:
    """Run something and return its peak beyond what was held before, and its result."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = bytes_of("VmRSS")
    result = action()
    return bytes_of("VmHWM") - before, result


def graph_of(batch: AnnotationBatch) -> AnnotationGraph:
    return AnnotationGraph.from_arrays(
        batch.task_index,
        batch.worker_index,
        batch.option_index,
        num_tasks=len(batch.task_project),
        num_workers=batch.num_workers,
        num_option_rows=int(batch.num_options[0]),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize(
    "code", [_MEASURE, _MEASURE_BLOCK, _MEASURE_TOGETHER], ids=["batch", "block", "together"]
)
@pytest.mark.parametrize(
    ("weights", "sizes"),
    [
        ("default", (200_000, 40_000, 1_000, 5)),
        ("default", (100_000, 5_000, 20_000, 10)),  # many workers, many rows
        ("default", (100_000, 20_000, 2_000, 100)),  # tied
        ("attention", (100_000, 50_000, 10_000, 5)),
    ],
)
def test_estimate_is_an_upper_bound_of_the_right_size(
    code: str, weights: str, sizes: tuple[int, int, int, int]
) -> None:
    command = [sys.executable, "-c", code, weights, *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, estimate = map(int, done.stdout.split())
    assert peak < estimate + 30 * MIB  # an allocator keeps some
    assert estimate < 3 * peak + 30 * MIB


@pytest.mark.parametrize("options", [3, 40])
def test_states_are_those_that_the_layout_has(options: int) -> None:
    graph = graph_of(batch_of(500, 90, 30, options))
    layout = CandidateGraph.of(graph)
    assert count_states(graph) == (layout.num_candidates, layout.num_rows)


def test_a_batch_beyond_the_limit_is_refused_with_what_to_set() -> None:
    batch = batch_of(5_000, 500, 300, 4)
    needed = bytes_to_score(load_weights().config, graph_of(batch))
    Scorer(load_weights(), max_bytes=needed).score(batch)
    with pytest.raises(ScoringError, match=r"project 'large': 5000 .* raise scoring.max_model_gib"):
        Scorer(load_weights(), max_bytes=needed - 1).score(batch)
