"""The world of EBCC: classes whose tasks come in subtypes, on which workers err alike.

Letters: T tasks, W workers, K options, S subtypes per class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crowdfm_core.simulation.crowd import FloatArray, IntArray
from crowdfm_core.simulation.pieces import Range, Streams, draw_rows, log_uniform, logit, sigmoid
from crowdfm_core.simulation.shapes import DrawnShape
from crowdfm_core.simulation.worlds import (
    CONCENTRATION,
    SPREAD,
    STRENGTH,
    World,
    WorldDraw,
    confusion_with_equal_errors,
    crowd_of,
    rows_around,
)

__all__ = ["SubtypedCrowds"]


@dataclass(frozen=True)
class SubtypedCrowds(World):
    """Enhanced Bayesian classifier combination (Li, Rubinstein and Cohn, 2019): the tasks of a
    class fall into a number of subtypes from `subtypes`, of Dirichlet(`subtype_balance`) sizes,
    and every worker has a row of answers per subtype. Given the class alone, answers are therefore
    dependent: those who are wrong about a subtype are wrong about it together.

    The crowd's row of a subtype is Dirichlet(a B[k]) with a from `subtype_concentration` (both
    concentrations log-uniform); a worker's is Dirichlet around it with c from `concentration`. B
    has the crowd's accuracy on its diagonal, in logits spread over the classes by `class_spread`,
    and equal errors.
    """

    subtypes: tuple[int, int] = (2, 4)
    subtype_balance: float = 1.5
    subtype_concentration: Range = (1.0, 20.0)
    concentration: Range = (1.0, 20.0)
    class_spread: Range = (0.0, 1.0)
    bounds: ClassVar[dict[str, Range]] = {
        "strength": STRENGTH,
        "subtypes": (1, 1000),
        "subtype_balance": CONCENTRATION,
        "subtype_concentration": CONCENTRATION,
        "concentration": CONCENTRATION,
        "class_spread": SPREAD,
    }

    def _draw_on(
        self,
        shape: DrawnShape,
        prior: FloatArray,
        truth: IntArray,
        accuracy: float,
        streams: Streams,
    ) -> WorldDraw:
        options = shape.num_options
        rng = streams["subtypes"]
        number = int(rng.integers(*self.subtypes, endpoint=True))
        share = rng.dirichlet(np.full(number, self.subtype_balance), options)  # [K, S]
        kind = truth.astype(np.int64) * number + draw_rows(rng, share, truth)  # [T]
        rng = streams["confusion"]
        spread = rng.normal(0.0, rng.uniform(*self.class_spread), options)
        base = confusion_with_equal_errors(sigmoid(logit(np.asarray(accuracy)) + spread))
        base = np.repeat(base, number, axis=0)  # [K S, K]
        of_kind = rows_around(rng, base, log_uniform(rng, self.subtype_concentration))
        rng = streams["workers"]
        per_worker = np.broadcast_to(of_kind, (shape.num_workers, *of_kind.shape))
        table = rows_around(rng, per_worker, log_uniform(rng, self.concentration))  # [W, K S, K]
        row = shape.worker_index.astype(np.int64) * len(base) + kind[shape.task_index]
        answer = draw_rows(streams["answers"], table.reshape(-1, options), row)

        by_class = table.reshape(-1, options, number, options)
        confusion = np.einsum("wksj,ks->wkj", by_class, share)
        right = np.einsum("wksk->ks", by_class).ravel() / shape.num_workers  # [K S]
        of_task = right[kind]
        crowd = crowd_of(
            shape,
            truth,
            answer,
            np.einsum("wkk,k->w", confusion, prior),
            difficulty=logit(np.asarray(of_task.mean())) - logit(of_task),
        )
        return WorldDraw(crowd, prior, confusion, np.zeros(shape.num_workers, np.int32))
