"""Algorithm 2 of the CrowdFM paper (ICLR 2026): the ablation without difficulty and heavy tails.

Letters: E annotations, T tasks, W workers, K options.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crowdfm_core.simulation.crowd import SimulatedCrowd, compacted
from crowdfm_core.simulation.item_response import draw_answers
from crowdfm_core.simulation.sizes import CrowdSizes, assign_workers

__all__ = ["UniformCrowds"]

_LARGEST_ABILITY = 8.0  # an accuracy of 0.9997; keeps the logit of an accuracy of 1 finite


@dataclass(frozen=True)
class UniformCrowds:
    """Crowds whose workers are chosen uniformly and answer every task right with one accuracy,
    drawn from U(1/K, 1) per worker; all tasks are alike.

    `worker_ability` is the logit of that accuracy, and the parameters of tasks are NaN.
    """

    sizes: CrowdSizes = field(default_factory=CrowdSizes)

    def sample(self, rng: np.random.Generator) -> SimulatedCrowd:
        """Draw one crowd."""
        sizes = self.sizes.sample(rng)
        tasks, options = sizes.num_tasks, sizes.num_options
        task_index, worker = assign_workers(rng, sizes.answers_per_task, np.ones(sizes.num_workers))
        worker_index, kept = compacted(worker, sizes.num_workers)
        accuracy = rng.uniform(1.0 / options, 1.0, len(kept))
        true_option = rng.integers(0, options, tasks, dtype=np.int32)
        logit = np.log(accuracy) - np.log1p(-accuracy)
        absent = np.full(tasks, np.nan)
        return SimulatedCrowd(
            task_index=task_index,
            worker_index=worker_index,
            option_index=draw_answers(
                rng, true_option[task_index], accuracy[worker_index], options
            ),
            true_option=true_option,
            num_options=options,
            worker_ability=np.minimum(logit, _LARGEST_ABILITY),
            task_difficulty=absent,
            task_discrimination=absent,
            task_guessing=absent,
        )
