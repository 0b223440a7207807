"""Which device a task scores on, as Spark's resources and CUDA say."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark import TaskContext

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.errors import WeightsError
from crowdfm_core.weights import load_weights
from udfs import runtime


@pytest.fixture(autouse=True)
def fresh_worker() -> Iterator[None]:
    """A Python worker that has not said anything yet."""
    runtime._warn_once.cache_clear()
    yield
    runtime._warn_once.cache_clear()


def give_gpus(monkeypatch: pytest.MonkeyPatch, *addresses: str, has_cuda: bool) -> None:
    resources = {"gpu": SimpleNamespace(addresses=list(addresses))} if addresses else {}
    context: Any = SimpleNamespace(resources=lambda: resources)
    monkeypatch.setattr(TaskContext, "get", lambda: context)
    monkeypatch.setattr(runtime, "_has_cuda", lambda: has_cuda)


@pytest.mark.parametrize(
    ("wanted", "addresses", "has_cuda", "expected", "warning"),
    [
        ("auto", [], True, "cpu", None),  # CUDA alone is not enough: Spark shares out the GPUs
        ("cpu", ["0"], True, "cpu", None),
        ("auto", ["3"], True, "cuda:3", None),
        ("cuda", ["1", "2"], True, "cuda:1", None),
        ("auto", ["3"], False, "cpu", "GPU 3 was scheduled, but CUDA cannot be used here"),
        ("cuda", [], True, "cpu", "Spark gave this task no GPU"),
    ],
)
def test_task_device(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wanted: str,
    addresses: list[str],
    has_cuda: bool,
    expected: str,
    warning: str | None,
) -> None:
    give_gpus(monkeypatch, *addresses, has_cuda=has_cuda)
    assert [runtime.task_device(wanted) for _ in range(3)] == [expected] * 3
    assert len(caplog.records) == (0 if warning is None else 1)  # once per worker
    assert warning is None or warning in caplog.text


def test_reused_worker_follows_the_address_of_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("0", "1"):
        give_gpus(monkeypatch, address, has_cuda=True)
        assert runtime.task_device("auto") == f"cuda:{address}"


def test_model_is_loaded_once_per_device() -> None:
    sha256 = load_weights("default").sha256
    first = runtime.scorer_for("default", sha256, "cpu", 1, 2, 2**30, None)
    assert runtime.scorer_for("default", sha256, "cpu", 1, 2, 2**30, None) is first
    assert runtime.scorer_for("default", sha256, "cpu", 2, 2, 2**30, None) is not first
    rules = [AssignmentRule(workers) for workers in (1, 1, 2)]
    one, same, other = (
        runtime.scorer_for("default", sha256, "cpu", 1, 2, 2**30, rule) for rule in rules
    )
    assert one is same
    assert len({id(first), id(one), id(other)}) == 3


def test_other_weights_than_the_drivers_are_refused() -> None:
    with pytest.raises(WeightsError, match="as on the driver"):
        runtime.scorer_for("default", "0" * 64, "cpu", 1, 2, 2**30, None)
