"""The training loop: packed synthetic crowds in, checkpoints and a log out."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml
from tqdm import tqdm

from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.errors import ConfigError
from crowdfm_core.pretraining.objective import initial_weights, loss_of, outputs_of
from crowdfm_core.pretraining.optimisation import RunningAverage, learning_rate, make_optimiser
from crowdfm_core.pretraining.packing import PackedCrowds
from crowdfm_core.pretraining.recipe import Recipe
from crowdfm_core.pretraining.run_files import (
    Checkpoint,
    append_log,
    load_checkpoint,
    rewind_log,
)
from crowdfm_core.pretraining.stream import training_crowds
from crowdfm_core.pretraining.validation import draw_validation_crowds, validate
from crowdfm_core.weights import load_weights

__all__ = ["CHECKPOINT_FILE", "LOG_FILE", "Measure", "train", "weights_to_start_from"]

CHECKPOINT_FILE = "checkpoint.pt"
LOG_FILE = "log.jsonl"
RECIPE_FILE = "recipe.yaml"

# Takes the present state; what it returns is logged and never steers the training.
Measure = Callable[[Checkpoint], dict[str, Any]]

_log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: torch.device,
    minutes: float | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    measure: Measure | None = None,
    stop_after_steps: int | None = None,
) -> Checkpoint:
    """Train, or go on training, and return the last state, which is also saved under `out`.

    minutes: training time over all resumptions after which the run is complete; the learning rate
    then falls with the time that has passed, whichever of time and steps is further on.
    start_from: folder of another run, whose averaged weights this one starts from, or of frozen
    weights, as when a trained model goes on with another mixture of crowds, or with more layers of
    the same kind: then the last one is repeated; what frozen weights lack is drawn.
    stop_after_steps: pause once this many steps are done, as an interruption would.
    SIGTERM and SIGINT save and pause. Raises ConfigError when `out` holds a run already, or on
    resumption one of another recipe, and WeightsError when there is nothing to resume.
    """
    run = _Run(recipe, out, device, minutes, resume, start_from, measure)
    return run.train(stop_after_steps)


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        device: torch.device,
        minutes: float | None,
        resume: bool,
        start_from: Path | None,
        measure: Measure | None,
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.minutes = minutes
        self.measure = measure
        self.ops = TorchOps(device)
        self.weights = initial_weights(recipe, device)
        self.average = RunningAverage(self.weights, recipe.training.average_decay)
        self.optimiser = make_optimiser(recipe.training, self.weights)
        self.step = 0
        self.seconds = 0.0
        self.origin: dict[str, Any] | None = None
        if resume:
            self._resume()
        else:
            self._start(start_from)

    def train(self, stop_after_steps: int | None) -> Checkpoint:
        settings = self.recipe.training
        validation_crowds = draw_validation_crowds(self.recipe)
        last_step = min(settings.steps, stop_after_steps or settings.steps)
        bar = tqdm(total=settings.steps, initial=self.step, unit="step", dynamic_ncols=True)
        saved_at = time.monotonic()
        window = _Window()
        with (
            bar,
            _stop_signals() as stop,
            training_crowds(self.recipe, first_step=self.step) as crowds,
        ):
            while self.step < last_step and self._progress() < 1.0 and not stop:
                began = time.monotonic()
                packed = next(crowds)
                rate = learning_rate(settings, step=self.step, progress=self._progress())
                loss = self._update(packed, rate)
                self.step += 1
                took = time.monotonic() - began
                self.seconds += took
                window.add(loss, packed.graph.num_annotations, took)
                bar.update()
                if self.step % settings.log_every_steps == 0:
                    record = {"learning_rate": rate, **window.take()}
                    bar.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
                    self._log(record)
                if self.step % self.recipe.validation.every_steps == 0:
                    self._validate(validation_crowds)
                if time.monotonic() - saved_at > settings.checkpoint_every_seconds:
                    self._save()
                    saved_at = time.monotonic()
        complete = self._progress() >= 1.0
        if complete and self.step % self.recipe.validation.every_steps:
            self._validate(validation_crowds)
        if stop and not complete:
            _log.warning("stopped by a signal at step %d; go on with --resume", self.step)
        return self._save()

    def _progress(self) -> float:
        """Share of the run that is done, by steps or by time, in [0, 1] and a little above."""
        by_steps = self.step / self.recipe.training.steps
        by_time = self.seconds / (60.0 * self.minutes) if self.minutes else 0.0
        return max(by_steps, by_time)

    def _update(self, packed: PackedCrowds, rate: float) -> torch.Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        *early, last = outputs_of(self.recipe, self.weights, packed, self.ops).logits
        loss = total = loss_of(last, packed)
        for logits in early:
            total = total + self.recipe.training.early_layers_weight * loss_of(logits, packed)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(
            self.weights.values(), self.recipe.training.gradient_clip, error_if_nonfinite=True
        )
        self.optimiser.step()
        self.average.update(self.weights, step=self.step)
        return loss.detach()

    def _validate(self, crowds: Any) -> None:
        began = time.monotonic()
        result = validate(self.recipe, self.average.weights, crowds, self.ops)
        record = {f"validation_{name}": value for name, value in asdict(result).items()}
        if self.measure is not None:
            record |= self.measure(self._state())
        self._log({**record, "validation_seconds": round(time.monotonic() - began, 3)})
        tqdm.write(
            f"step {self.step}: validation accuracy {result.accuracy:.4f} "
            f"(majority voting {result.majority_vote_accuracy:.4f})",
            file=sys.stderr,
        )

    def _log(self, record: dict[str, Any]) -> None:
        entry = {"step": self.step, "seconds": round(self.seconds, 3), **record}
        append_log(self.out / LOG_FILE, entry)

    def _state(self) -> Checkpoint:
        return Checkpoint(
            recipe=self.recipe,
            step=self.step,
            seconds=self.seconds,
            weights=self.weights,
            average=self.average.weights,
            optimiser=self.optimiser.state_dict(),
            origin=self.origin,
        )

    def _save(self) -> Checkpoint:
        state = self._state()
        state.save(self.out / CHECKPOINT_FILE)
        return state

    def _start(self, origin: Path | None) -> None:
        if (self.out / CHECKPOINT_FILE).exists():
            problem = "holds a run already; give --resume to go on, or another --out"
            raise ConfigError([problem], where=str(self.out))
        if origin is not None:
            weights, self.origin = weights_to_start_from(origin, self.recipe, self.weights)
            self._take(weights, weights)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / LOG_FILE).unlink(missing_ok=True)
        text = yaml.safe_dump(self.recipe.to_mapping(), sort_keys=False)
        (self.out / RECIPE_FILE).write_text(text, encoding="utf-8")

    def _resume(self) -> None:
        state = load_checkpoint(self.out / CHECKPOINT_FILE)
        if state.recipe != self.recipe:
            problem = f"was trained with another recipe, see {self.out / RECIPE_FILE}"
            raise ConfigError([problem], where=str(self.out))
        self._take(state.weights, state.average)
        self.origin = state.origin
        self.optimiser.load_state_dict(state.optimiser)
        self.step, self.seconds = state.step, state.seconds
        rewind_log(self.out / LOG_FILE, step=self.step)

    @torch.no_grad()
    def _take(self, weights: dict[str, torch.Tensor], average: dict[str, torch.Tensor]) -> None:
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])
            self.average.weights[name].copy_(average[name])


def weights_to_start_from(
    origin: Path, recipe: Recipe, drawn: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return a run's averaged or frozen weights, and the account of how they were made.

    drawn: by name as the recipe's model has them; what `origin` lacks is taken from there. Raises
    ConfigError where the weights are of another model than the recipe's, the number of layers
    apart: the last one is repeated, or the last ones are left out.
    """
    account: dict[str, Any]
    if (origin / CHECKPOINT_FILE).exists():
        state = load_checkpoint(origin / CHECKPOINT_FILE)
        model, found, account = state.recipe.model, dict(state.average), state.account()
    else:
        frozen = load_weights(origin)
        model, account = frozen.config, {"weights_sha256": frozen.sha256, **frozen.recipe}
        found = {name: torch.from_numpy(tensor.copy()) for name, tensor in frozen.tensors.items()}
    if replace(model, layers=recipe.model.layers) != recipe.model:
        raise ConfigError([f"model: expected {recipe.model}, got {model}"], where=str(origin))
    return {**drawn, **_in_layers(found, drawn)}, account


def _in_layers(
    found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Tensors of a model with as many layers as wanted, the last one repeated; where an axis is the
    layer it is the first, and all others are equal."""
    fitting = {}
    for name, tensor in found.items():
        layers = len(wanted[name])
        fitting[name] = tensor[torch.arange(layers).clamp(max=len(tensor) - 1)]
    return fitting


class _Window:
    """Means over the steps since the last line of the log."""

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._annotations = 0
        self._seconds = 0.0

    def add(self, loss: torch.Tensor, annotations: int, seconds: float) -> None:
        # The value stays on the device: reading it here would wait for every single step.
        self._losses.append(loss)
        self._annotations += annotations
        self._seconds += seconds

    def take(self) -> dict[str, float]:
        """Return the means and start anew."""
        loss = float(torch.stack(self._losses).mean())
        rate = round(self._annotations / self._seconds)
        self._losses, self._annotations, self._seconds = [], 0, 0.0
        return {"loss": loss, "annotations_per_second": rate}


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Give a list that is empty until SIGTERM or SIGINT comes; handlers are put back after."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
