"""Device and model of a Python worker, kept between the tasks that it runs."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec

import numba
from pyspark import TaskContext

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.blocks.program import BlockProgram, make_block_program
from crowdfm_core.errors import WeightsError
from crowdfm_core.scoring import Scorer
from crowdfm_core.weights import FrozenWeights, load_weights

__all__ = ["block_program_for", "scorer_for", "task_device"]

_log = logging.getLogger(__name__)


def task_device(wanted: str) -> str:
    """Return the device of the present Spark task: "cpu" or "cuda:ADDRESS".

    wanted: auto, cpu or cuda. The address is the one that Spark gave to this task; a reused Python
    worker may get another one next time. Without a GPU from Spark, or without CUDA, the task is
    scored on the CPU.
    """
    context = TaskContext.get()
    resources = context.resources() if context is not None else {}
    if wanted == "cpu":
        return "cpu"
    if "gpu" not in resources:
        if wanted == "cuda":
            _warn_once("scoring.device is cuda, but Spark gave this task no GPU")
        return "cpu"
    address = resources["gpu"].addresses[0]
    if not _has_cuda():
        _warn_once(f"GPU {address} was scheduled, but CUDA cannot be used here")
        return "cpu"
    return f"cuda:{address}"


@cache
def scorer_for(
    weights: str,
    weights_sha256: str,
    device: str,
    num_draws: int,
    max_probabilities: int,
    max_bytes: int,
    assignments: AssignmentRule | None,
) -> Scorer:
    """Load a model once per Python worker and device.

    Raises WeightsError when the weights here are not the driver's, which are named in `runs`.
    """
    return Scorer(
        _checked_weights(weights, weights_sha256),
        device=device,
        num_draws=num_draws,
        max_probabilities=max_probabilities,
        # One task has one core unless the scoring profile says otherwise.
        num_threads=_task_cpus(),
        max_bytes=max_bytes,
        assignments=assignments,
    )


@cache
def block_program_for(
    weights: str,
    weights_sha256: str,
    num_draws: int,
    max_probabilities: int,
    assignments: AssignmentRule | None,
) -> BlockProgram:
    """Load a model for the parts of components once per Python worker; raises as `scorer_for`."""
    numba.set_num_threads(min(_task_cpus(), numba.get_num_threads()))
    loaded = _checked_weights(weights, weights_sha256)
    return make_block_program(
        loaded,
        num_draws=num_draws,
        max_probabilities=max_probabilities,
        assignments=assignments,
    )


def _checked_weights(weights: str, weights_sha256: str) -> FrozenWeights:
    loaded = load_weights(weights)
    if loaded.sha256 != weights_sha256:
        raise WeightsError(
            f"weights {weights!r}: expected sha256 {weights_sha256} as on the driver, got "
            f"{loaded.sha256} on this executor; install the same version of crowdfm and of the "
            "weights on every node"
        )
    return loaded


def _task_cpus() -> int:
    context = TaskContext.get()
    return int(context.cpus()) if context is not None else 1


@cache
def _has_cuda() -> bool:
    if find_spec("torch") is None:
        return False
    from crowdfm_core.backends.torch_backend import cuda_is_available  # torch loads for seconds

    return cuda_is_available()


@cache
def _warn_once(problem: str) -> None:
    """Say it once per Python worker, on stderr of the executor."""
    _log.warning("%s: scoring on the CPU", problem)
