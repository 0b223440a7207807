"""Runs contenders on data sets; what fails on one set costs that cell and nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crowdfm_core.errors import CrowdFMError, InputError
from crowdfm_core.evaluation.contenders import Contender
from crowdfm_core.evaluation.datasets import LabelledDataset, read_dataset
from crowdfm_core.evaluation.measures import Reliability, log_loss, reliability

__all__ = ["Evaluation", "Measurement", "Problem", "evaluate", "evaluate_folders", "measure"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """One method on one data set: means over seeds, accuracies in [0, 1], log loss in nats.

    accuracy_range: largest minus smallest accuracy of a seed. seconds: wall time of one run,
    without reading the files and without compiling.
    """

    dataset: str
    method: str
    num_seeds: int
    accuracy: float
    accuracy_range: float
    calibration_error: float
    log_loss: float
    seconds: float
    reliability: Reliability


@dataclass(frozen=True)
class Problem:
    """Why a data set, or one method on it (method is None for all), was not measured."""

    dataset: str
    method: str | None
    message: str
    unforeseen: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Everything measured, in the order of the data sets and then of the contenders."""

    contenders: tuple[Contender, ...]
    datasets: tuple[LabelledDataset, ...]
    measurements: tuple[Measurement, ...]
    problems: tuple[Problem, ...]

    def of_method(self, name: str) -> dict[str, Measurement]:
        """Measurements of one method by data set."""
        return {m.dataset: m for m in self.measurements if m.method == name}


def measure(dataset: LabelledDataset, contender: Contender, *, num_seeds: int = 5) -> Measurement:
    """Measure one contender on one data set, once where the seed makes no difference."""
    seeds = range(num_seeds if contender.uses_seed else 1)
    start = time.perf_counter()
    predictions = [contender.predict(dataset, seed) for seed in seeds]
    seconds = time.perf_counter() - start
    accuracies = [prediction.accuracy for prediction in predictions]
    bins = [reliability(prediction) for prediction in predictions]
    return Measurement(
        dataset=dataset.name,
        method=contender.name,
        num_seeds=len(seeds),
        accuracy=float(np.mean(accuracies)),
        accuracy_range=max(accuracies) - min(accuracies),
        calibration_error=float(np.mean([b.calibration_error() for b in bins])),
        log_loss=float(np.mean([log_loss(prediction) for prediction in predictions])),
        seconds=seconds / len(seeds),
        reliability=Reliability(
            count=np.sum([b.count for b in bins], axis=0),
            credit=np.sum([b.credit for b in bins], axis=0),
            probability=np.sum([b.probability for b in bins], axis=0),
        ),
    )


def evaluate(
    datasets: Sequence[LabelledDataset], contenders: Sequence[Contender], *, num_seeds: int = 5
) -> Evaluation:
    """Measure every contender on every data set; failures become problems."""
    for contender in contenders:
        _compile(contender)
    measurements, problems = [], []
    for dataset in datasets:
        for contender in contenders:
            try:
                measurements.append(measure(dataset, contender, num_seeds=num_seeds))
            except CrowdFMError as error:
                problems.append(Problem(dataset.name, contender.name, str(error)))
            except MemoryError as error:
                message = f"out of memory ({error}); leave this method or this set out"
                problems.append(Problem(dataset.name, contender.name, message))
            except Exception as error:  # one broken method must not cost the whole table
                _LOGGER.exception("%s on %s", contender.name, dataset.name)
                message = f"unforeseen {type(error).__name__}: {error}"
                problems.append(Problem(dataset.name, contender.name, message, unforeseen=True))
        _LOGGER.info("%s: measured", dataset.name)
    return Evaluation(tuple(contenders), tuple(datasets), tuple(measurements), tuple(problems))


def evaluate_folders(
    folders: Sequence[Path],
    contenders: Sequence[Contender],
    *,
    num_seeds: int = 5,
    drop_repeated: bool = False,
) -> Evaluation:
    """Read data sets and evaluate those that can be read; the others become problems."""
    datasets, unread = [], []
    for folder in folders:
        try:
            datasets.append(read_dataset(folder, drop_repeated=drop_repeated))
        except InputError as error:
            unread.append(Problem(folder.name, None, str(error)))
    done = evaluate(datasets, contenders, num_seeds=num_seeds)
    problems = (*unread, *done.problems)
    return Evaluation(done.contenders, done.datasets, done.measurements, problems)


def _compile(contender: Contender) -> None:
    """Run once on two tasks, so that the time of compiled loops is not the first data set's."""
    index = np.array([0, 0, 1, 1], np.int32)
    tiny = LabelledDataset(
        name="two tasks",
        tasks=["0", "1"],
        workers=["0", "1"],
        options=["0", "1"],
        task_index=index,
        worker_index=np.array([0, 1, 0, 1], np.int32),
        option_index=index,
        gold_task=index[1:3],
        gold_option=index[1:3],
    )
    try:
        contender.predict(tiny, 0)
    except Exception:  # what fails here fails on the data sets, where it is reported
        _LOGGER.debug("%s fails on two tasks", contender.name, exc_info=True)
