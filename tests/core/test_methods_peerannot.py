"""Methods that peerannot has and Crowd-Kit has not, against peerannot.

Its package imports torchvision on the way to its methods, which do not need it: they are imported
past that.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from crowdfm_core.evaluation import answers_of, find_datasets, read_dataset
from crowdfm_core.methods.answers import Answers, Floats
from crowdfm_core.methods.dawid_skene_clustered import dawid_skene_clustered
from crowdfm_core.methods.majority_vote import naive_soft, twothird
from crowdfm_core.methods.plantnet import plantnet
from crowdfm_core.methods.weighted_votes import iwmv, weighted_dawid_skene
from crowdfm_core.simulation import Shape
from crowdfm_core.simulation_checks.world_results import answers_of as answers_in
from tests.core.crowds_for_methods import WORLDS, clear, probabilities_of, rows_of

ROUNDS = 10
NEVER = -np.inf  # a tolerance that ends nothing early


@pytest.fixture(scope="module")
def peerannot() -> Iterator[Callable[[str], Any]]:
    """The class of a method by module and name, as `iwmv.IWMV`."""
    if find_spec("peerannot") is None:
        pytest.skip("peerannot is not installed; `make test` installs it")
    package = import_module("peerannot")
    models = ModuleType("peerannot.models")
    models.__path__ = [str(Path(package.__path__[0]) / "models")]
    before = set(sys.modules)
    sys.modules["peerannot.models"] = models

    def method(name: str) -> Any:
        module, _, of_class = name.partition(".")
        return getattr(import_module(f"peerannot.models.aggregation.{module}"), of_class)

    yield method
    for name in set(sys.modules) - before:
        if name.startswith("peerannot."):
            del sys.modules[name]


@pytest.fixture(params=WORLDS)
def crowd(request: pytest.FixtureRequest) -> Answers:
    """Of an even number of workers, as peerannot's groups must be equal."""
    return drawn(request.param, options=3, answers=6)


def drawn(world: str, *, options: int, answers: int) -> Answers:
    """answers: per task."""
    shape = Shape.exact(tasks=300, workers=24, options=options, answers_per_task=answers)
    crowds = WORLDS[world](shape=shape, strength=(0.4, 0.4))
    return answers_in(crowds.sample(np.random.default_rng(5)))


def said_by(answers: Answers) -> dict[int, dict[int, int]]:
    """Task -> worker -> option, the form that peerannot expects."""
    said: dict[int, dict[int, int]] = {task: {} for task in range(answers.num_tasks)}
    for task, worker, option in rows_of(answers):
        said[task][worker] = option
    return said


def sizes_of(answers: Answers) -> dict[str, int]:
    return {"n_workers": answers.num_workers, "n_classes": answers.num_options}


def test_naive_soft_and_twothird_are_the_same(crowd: Answers, peerannot: Any) -> None:
    said, options = said_by(crowd), crowd.num_options
    soft = peerannot("naive_soft.NaiveSoft")(said, n_classes=options).get_probas()
    np.testing.assert_allclose(probabilities_of(naive_soft(crowd)), soft, atol=1e-12)
    labels = peerannot("twothird.TwoThird")(said, n_classes=options).get_answers()
    result = twothird(crowd)
    np.testing.assert_array_equal(result.label, labels)
    assert 0 < (result.label < 0).sum() < crowd.num_tasks


@pytest.mark.parametrize("world", WORLDS)
def test_iwmv_is_the_same_with_the_weights_of_the_paper(world: str, peerannot: Any) -> None:
    """Five answers with two options do not tie."""
    answers = drawn(world, options=2, answers=5)
    ours = iwmv(answers)
    assert ours.converged
    assert ours.iterations > 2
    assert share_of_equal_iwmv(answers, peerannot) == 1.0


def share_of_equal_iwmv(answers: Answers, peerannot: Any) -> float:
    """peerannot weighs by the accuracy a, Li and Yu (2014) by K a - 1; of the winners of a tie it
    draws one, where here they share the win."""

    class WithWeightsOfThePaper(peerannot("iwmv.IWMV")):  # type: ignore[misc]
        worker_score: Any

        def accuracy_by_mv(self) -> None:
            super().accuracy_by_mv()
            self.worker_score = answers.num_options * self.worker_score - 1.0

    ours = iwmv(answers)
    other = WithWeightsOfThePaper(said_by(answers), **sizes_of(answers))
    np.random.seed(1)  # noqa: NPY002  # what peerannot draws from
    other.run(nb_iter=ours.iterations)
    same = ours.label == other.get_answers()
    return float(same[clear(probabilities_of(ours))].mean())


def test_plantnet_is_nearly_the_same_without_authors(crowd: Answers, peerannot: Any) -> None:
    """peerannot goes by the labels of the first vote to the end, the paper by those of the last:
    labels that change then make a valid task of some, and with it a weight."""
    other = peerannot("plantnet.PlantNet")(
        said_by(crowd), taxa_votes_weight=1.0, output_unvalidated=True, **sizes_of(crowd)
    )
    other.run()
    ours = plantnet(crowd)
    same = ours.label == other.get_answers()
    assert same[clear(probabilities_of(ours))].mean() >= 0.95
    assert (np.abs(ours.worker_score - other.weights) < 1e-9).mean() >= 0.75


def test_weighted_dawid_skene_is_the_same(crowd: Answers, peerannot: Any) -> None:
    ours = probabilities_of(weighted_dawid_skene(crowd, max_iterations=ROUNDS - 1, tolerance=NEVER))
    np.testing.assert_allclose(ours, weighted_by_peerannot(crowd, peerannot), atol=1e-6)


def weighted_by_peerannot(answers: Answers, peerannot: Any) -> Floats:
    """With rates of ROUNDS maximisation steps, before the last expectation step."""
    other = peerannot("wds.WDS")(said_by(answers), **sizes_of(answers))
    other.ds = peerannot("dawid_skene.DawidSkene")(answers=said_by(answers), **sizes_of(answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge
        other.ds.run(epsilon=0, maxiter=ROUNDS)
    other.pi = other.ds.pi
    probabilities: Floats = other.get_probas()
    return probabilities


def test_clustered_dawid_skene_is_the_same_in_turn(crowd: Answers, peerannot: Any) -> None:
    ours = dawid_skene_clustered(crowd, max_iterations=2_000, tolerance=1e-13)
    other = clustered_by_peerannot(crowd, peerannot)
    np.testing.assert_allclose(probabilities_of(ours), other, atol=1e-5)


def clustered_by_peerannot(answers: Answers, peerannot: Any) -> Floats:
    """peerannot moves tasks and workers at once, here workers follow the tasks of the same step, so
    that no step lowers the bound. On real sets its exponentials underflow."""

    class InTurn(peerannot("dawid_skene_clust.DawidSkeneClust")):  # type: ignore[misc]
        def variational_update(self, x: Any, theta: Any, *state: Any) -> tuple[Any, Any]:
            theta, _ = super().variational_update(x, theta, *state)
            _, phi = super().variational_update(x, theta, *state)
            return theta, phi

    other = InTurn(said_by(answers), **sizes_of(answers))
    other.run(epsilon=1e-9)
    probabilities: Floats = other.get_probas()
    return probabilities


def test_votes_are_the_same_on_real_sets(data_dir: Path, peerannot: Any) -> None:
    for _, answers in real_sets(data_dir):
        said, options = said_by(answers), answers.num_options
        soft = peerannot("naive_soft.NaiveSoft")(said, n_classes=options).get_probas()
        np.testing.assert_allclose(probabilities_of(naive_soft(answers)), soft, atol=1e-12)
        labels = peerannot("twothird.TwoThird")(said, n_classes=options).get_answers()
        np.testing.assert_array_equal(twothird(answers).label, labels)


def test_iwmv_is_the_same_on_real_sets(data_dir: Path, peerannot: Any) -> None:
    """Votes tie in CF, LabelMe and Web, with few answers a task and many options."""
    least = {"CF": 0.95, "LabelMe": 0.96, "Web": 0.985}
    for name, answers in real_sets(data_dir):
        assert share_of_equal_iwmv(answers, peerannot) >= least.get(name, 0.995), name


def test_weighted_dawid_skene_is_the_same_on_real_sets(data_dir: Path, peerannot: Any) -> None:
    """A class that a worker was never seen to meet has rates of 0 there, of 1 / K here, which
    decides some tasks of CF, with four answers a worker, and of MS, with ten options."""
    for name, answers in real_sets(data_dir, max_cells=20_000_000):
        shares = weighted_by_peerannot(answers, peerannot)
        ours = weighted_dawid_skene(answers, max_iterations=ROUNDS - 1, tolerance=NEVER)
        same = ours.label == shares.argmax(axis=1)
        least = {"CF": 0.96, "MS": 0.99}.get(name, 0.995)
        assert same[clear(probabilities_of(ours))].mean() >= least, name


def real_sets(data_dir: Path, *, max_cells: float = np.inf) -> Iterator[tuple[str, Answers]]:
    """Of repeated answers peerannot keeps the last, so they are left out; max_cells: of tasks x
    workers x options, which some of its methods lay out."""
    for folder in find_datasets(data_dir):
        answers = answers_of(read_dataset(folder, drop_repeated=True))
        if answers.num_tasks * answers.num_workers * answers.num_options <= max_cells:
            yield folder.name, answers
