"""A crowd whose answers can be judged: real with some truth, or simulated with all of it.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.evaluation import LabelledDataset
from crowdfm_core.simulation import SimulatedCrowd

__all__ = ["FloatArray", "IntArray", "JudgedCrowd"]

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class JudgedCrowd:
    """Annotations of one project, every task and worker with one or more of them."""

    task_index: IntArray  # [E]
    worker_index: IntArray  # [E]
    option_index: IntArray  # [E]
    true_option: IntArray  # [T], -1 where the truth is nobody's answer or not known
    has_truth: npt.NDArray[np.bool_]  # [T]
    num_workers: int
    num_options: int

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return len(self.true_option)

    @classmethod
    def from_simulated(cls, crowd: SimulatedCrowd) -> JudgedCrowd:
        """Take a simulated crowd, whose truth is known for all tasks."""
        return cls(
            task_index=crowd.task_index,
            worker_index=crowd.worker_index,
            option_index=crowd.option_index,
            true_option=crowd.true_option,
            has_truth=np.ones(crowd.num_tasks, bool),
            num_workers=crowd.num_workers,
            num_options=crowd.num_options,
        )

    @classmethod
    def from_dataset(cls, dataset: LabelledDataset) -> JudgedCrowd:
        """Take a real data set; tasks without truth still count as load."""
        has_truth = np.zeros(len(dataset.tasks), bool)
        has_truth[dataset.gold_task] = True
        return cls(
            task_index=dataset.task_index,
            worker_index=dataset.worker_index,
            option_index=dataset.option_index,
            true_option=dataset.true_option(),
            has_truth=has_truth,
            num_workers=len(dataset.workers),
            num_options=len(dataset.options),
        )
