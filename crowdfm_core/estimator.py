"""CrowdFM for a pandas frame, in the manner of Crowd-Kit: no training, no configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crowdfm_core.assignment_rule import AssignmentRule
from crowdfm_core.errors import InputError
from crowdfm_core.scoring import AnnotationBatch, ScoredBatch, Scorer
from crowdfm_core.weights import FrozenWeights, load_weights

__all__ = ["CrowdFM"]

_COLUMNS = ("task", "worker", "label")


class CrowdFM:
    """Aggregates the labels of one project with frozen weights.

    >>> CrowdFM().fit_predict(df)  # df: task, worker, label  # doctest: +SKIP

    After a call: `labels_` (Series by task), `probas_` (DataFrame task x label) and `skills_`
    (Series by worker: the mean probability of the worker's own answers, in [0, 1]).
    """

    def __init__(
        self,
        weights: FrozenWeights | str | Path = "default",
        *,
        device: str = "cpu",
        num_draws: int = 4,
        project_id: str = "default",
    ) -> None:
        """Load `weights` (a folder, or "default" for the shipped ones).

        project_id seeds the option vectors, as the nightly job seeds them by project.
        """
        loaded = weights if isinstance(weights, FrozenWeights) else load_weights(weights)
        self.project_id = project_id
        self._loaded = loaded
        self._device = device
        self._num_draws = num_draws

    def fit_predict(self, df: pd.DataFrame) -> pd.Series[Any]:
        """Return the aggregated label of every task, named `agg_label`, sorted by task.

        Repeated (task, worker) rows count as separate annotations. Raises InputError when a
        column is missing, a value is null, or the frame is empty.
        """
        self._fit(df)
        return self.labels_

    def fit_predict_proba(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the probability of every option for every task: rows sum to 1."""
        self._fit(df)
        return self.probas_

    def assign(
        self,
        df: pd.DataFrame,
        *,
        workers_per_task: int = AssignmentRule.workers_per_task,
        max_probability: float = AssignmentRule.max_probability,
    ) -> pd.DataFrame:
        """Return who should answer which tasks next: columns task, rank, worker, compatibility.

        Tasks whose label has at most `max_probability` (1: all) get the `workers_per_task` most
        compatible workers who have not answered them, rank 1 first; compatibility is the
        probability, in [0, 1], that the worker answers the task rightly. Raises as fit_predict,
        ConfigError for a number out of range, and ScoringError where the weights cannot say.
        """
        rule = AssignmentRule(workers_per_task, max_probability)
        ranked = self._fit(df, rule).assigned
        assert ranked is not None
        return pd.DataFrame(
            {
                "task": self.labels_.index[ranked.task_index],
                "rank": ranked.rank,
                "worker": self.skills_.index[ranked.worker_index],
                "compatibility": ranked.compatibility,
            }
        )

    def _fit(self, df: pd.DataFrame, rule: AssignmentRule | None = None) -> ScoredBatch:
        _check_frame(df)
        tasks, task_index = np.unique(df["task"].to_numpy(), return_inverse=True)
        workers, worker_index = np.unique(df["worker"].to_numpy(), return_inverse=True)
        options, option_index = np.unique(df["label"].to_numpy(), return_inverse=True)
        batch = AnnotationBatch(
            task_index=task_index.astype(np.int32),
            worker_index=worker_index.astype(np.int32),
            option_index=option_index.astype(np.int32),
            task_project=np.zeros(len(tasks), np.int32),
            project_ids=[self.project_id],
            num_options=np.array([len(options)], np.int32),
            num_workers=len(workers),
        )
        scorer = Scorer(
            self._loaded,
            device=self._device,
            num_draws=self._num_draws,
            max_probabilities=max(2, len(options)),
            assignments=rule,
        )
        scored = scorer.score(batch)
        index = pd.Index(tasks, name="task")
        self.labels_: pd.Series[Any] = pd.Series(
            options[scored.label_index], index=index, name="agg_label"
        )
        self.probas_ = pd.DataFrame(
            _dense(scored, len(options)), index=index, columns=pd.Index(options, name="label")
        )
        self.skills_: pd.Series[Any] = pd.Series(
            scored.expected_accuracy, index=pd.Index(workers, name="worker"), name="skill"
        )
        return scored


def _dense(scored: ScoredBatch, num_options: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    tasks = len(scored.label_index)
    dense = np.zeros((tasks, num_options))
    rows = np.repeat(np.arange(tasks), np.diff(scored.top_offsets))
    dense[rows, scored.top_option_index] = scored.top_probability
    return dense


def _check_frame(df: pd.DataFrame) -> None:
    missing = [name for name in _COLUMNS if name not in df.columns]
    if missing:
        raise InputError(f"expected columns {_COLUMNS}, missing {missing}, got {list(df.columns)}")
    if df.empty:
        raise InputError("expected at least one annotation, got an empty frame")
    for name in _COLUMNS:
        nulls = int(df[name].isna().sum())
        if nulls:
            raise InputError(f"column {name!r}: expected no nulls, got {nulls} of {len(df)} rows")
