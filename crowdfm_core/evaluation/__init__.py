"""Accuracy and calibration on data sets with known truth, for every method and frozen weights."""

from crowdfm_core.evaluation.contenders import Contender, classical, frozen
from crowdfm_core.evaluation.datasets import (
    LabelledDataset,
    answers_of,
    batch_of,
    find_datasets,
    read_dataset,
    read_datasets,
)
from crowdfm_core.evaluation.measures import Prediction, scored_credit
from crowdfm_core.evaluation.run import Evaluation, Measurement, evaluate, measure

__all__ = [
    "Contender",
    "Evaluation",
    "LabelledDataset",
    "Measurement",
    "Prediction",
    "answers_of",
    "batch_of",
    "classical",
    "evaluate",
    "find_datasets",
    "frozen",
    "measure",
    "read_dataset",
    "read_datasets",
    "scored_credit",
]
