"""Draws the crowds of coming steps in background processes while the model trains."""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crowdfm_core.pretraining.packing import PackedCrowds, draw_packed_crowds, stream_rng
from crowdfm_core.pretraining.recipe import Recipe

__all__ = ["crowds_of_step", "training_crowds"]

_DEPTH = 4  # packed steps waiting per process
_POLL_SECONDS = 5.0


def crowds_of_step(recipe: Recipe, step: int) -> PackedCrowds:
    """Draw the crowds of one training step: a function of the recipe and the step alone."""
    return draw_packed_crowds(
        recipe.generator(),
        stream_rng(recipe.seed, "training", step),
        num_crowds=recipe.training.crowds_per_step,
        model=recipe.model,
        tied_share=recipe.training.tied_share,
    )


@contextmanager
def training_crowds(recipe: Recipe, *, first_step: int) -> Iterator[Iterator[PackedCrowds]]:
    """Give an endless iterator over the crowds of steps first_step, first_step + 1, ...

    The order does not depend on the number of processes. They are spawned, because a fork would
    copy the training process's thread pools in an unknown state.
    """
    processes = recipe.training.prefetch_processes
    if processes == 0:
        yield (crowds_of_step(recipe, step) for step in itertools.count(first_step))
        return
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue(_DEPTH) for _ in range(processes)]
    workers = [
        context.Process(
            target=_produce,
            args=(recipe, first_step + place, processes, packed),
            daemon=True,
            name=f"crowds-{place}",
        )
        for place, packed in enumerate(queues)
    ]
    for worker in workers:
        worker.start()
    try:
        yield _consume(queues, workers)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _consume(queues: list[Any], workers: list[Any]) -> Iterator[PackedCrowds]:
    for packed, worker in itertools.cycle(zip(queues, workers, strict=True)):
        while True:
            try:
                item = packed.get(timeout=_POLL_SECONDS)
                break
            except queue.Empty:
                if not worker.is_alive():
                    raise RuntimeError(
                        f"the process {worker.name} that draws crowds ended with code "
                        f"{worker.exitcode}; resume the run from its last checkpoint"
                    ) from None
        if isinstance(item, BaseException):
            raise item
        yield item


def _produce(recipe: Recipe, first_step: int, stride: int, packed: Any) -> None:
    # The training process decides when to stop; Ctrl-C reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    for step in itertools.count(first_step, stride):
        item: PackedCrowds | Exception
        try:
            item = crowds_of_step(recipe, step)
        except Exception as error:  # handed over: the training process raises it
            item = error
        while True:
            try:
                packed.put(item, timeout=_POLL_SECONDS)
                break
            except queue.Full:
                if parent is not None and not parent.is_alive():
                    return
        if isinstance(item, Exception):
            return
