"""Heads: what they are fitted on, what their figures mean, and the command that reports them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crowdfm_core.backends.numpy_backend import NumpyOps
from crowdfm_core.backends.torch_backend import TorchOps
from crowdfm_core.compatibility import class_skill, crowd_log_odds, factors_of, score_pairs
from crowdfm_core.evaluation.datasets import read_datasets
from crowdfm_core.methods.answers import Answers
from crowdfm_core.methods.majority_vote import majority_vote
from crowdfm_core.models.unrolled import UnrolledConfig, UnrolledModel
from crowdfm_core.pretraining.__main__ import main
from crowdfm_core.pretraining.head_figures import (
    area_under_curve,
    calibration_error,
    figures_of,
    order_within,
    spearman,
)
from crowdfm_core.pretraining.head_samples import (
    HELD_OUT_SHARE,
    ROWS_PER_CROWD,
    PairRows,
    Rows,
    draw_pairs,
    draw_rows,
    hidden_annotations,
    hold_out,
)
from crowdfm_core.pretraining.heads import HeadEstimates, estimate_pairs
from crowdfm_core.pretraining.networks import Network, train
from crowdfm_core.pretraining.objective import initial_weights
from crowdfm_core.pretraining.real_abilities import confusion_trace, measure_abilities
from crowdfm_core.pretraining.real_compatibility import measure_compatibility
from crowdfm_core.pretraining.recipe import Recipe, read_recipe
from crowdfm_core.pretraining.training import train as train_model
from crowdfm_core.scoring import Scorer
from crowdfm_core.simulation import ThreeParameterLogisticCrowds
from crowdfm_core.weights import FrozenWeights, load_weights, save_weights
from tests.core.test_read_outs import CONFIG, pair_heads
from tests.core.test_unrolled import frozen, layout_of, random_rows, random_tensors

TINY = Path(__file__).parents[2] / "conf" / "pretraining" / "tiny.yaml"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    model = UnrolledConfig(width=8, layers=2, hidden=12)
    return dataclasses.replace(read_recipe(TINY), architecture="unrolled", model=model)


def test_hidden_annotations_leave_every_task_and_worker_one() -> None:
    rng = np.random.default_rng(5)
    crowd = ThreeParameterLogisticCrowds().sample(rng)
    seen, hidden = hold_out(crowd, rng)
    assert len(seen.task_index) + hidden.sum() == crowd.num_annotations
    assert (np.bincount(seen.task_index, minlength=crowd.num_tasks) > 0).all()
    assert (np.bincount(seen.worker_index, minlength=crowd.num_workers) > 0).all()
    assert 0.5 * HELD_OUT_SHARE < hidden.mean() < 1.3 * HELD_OUT_SHARE
    np.testing.assert_array_equal(seen.option_index, crowd.option_index[~hidden])


def test_rows_carry_the_parameters_of_their_crowds(recipe: Recipe) -> None:
    weights = {name: t.detach() for name, t in initial_weights(recipe, CPU).items()}
    with torch.no_grad():
        rows = draw_rows(recipe, weights, TorchOps(), first=40, num_crowds=10)
    for name, each in rows.items():
        per_crowd = np.unique(each.crowd, return_counts=True)
        assert per_crowd[0].tolist() == list(range(40, 50))
        assert per_crowd[1].max() <= ROWS_PER_CROWD
        assert each.embeddings.shape[1] == recipe.model.embedding_widths()[name]
        assert np.isfinite(each.truth).all()
        assert (each.num_annotations >= 1).all()
    # Abler workers are right more often, and harder tasks are answered wrongly.
    assert spearman(rows["ability"].known[:, 0], rows["ability"].truth) > 0.3
    assert spearman(rows["difficulty"].known[:, 0], rows["difficulty"].truth) < -0.3


def test_balanced_filtering_keeps_as_many_right_as_wrong_pairs_of_every_crowd(
    recipe: Recipe,
) -> None:
    weights = {name: t.detach() for name, t in initial_weights(recipe, CPU).items()}
    with torch.no_grad():
        pairs = draw_pairs(recipe, weights, TorchOps(), first=7, num_crowds=9)
    assert pairs.is_right.mean() != pytest.approx(0.5, abs=0.05)
    for crowd in np.unique(pairs.crowd):
        mine = pairs.crowd == crowd
        right, kept = pairs.is_right[mine], pairs.is_balanced[mine]
        fewest = min(right.sum(), (~right).sum())
        assert (right & kept).sum() == (~right & kept).sum() == fewest
    widths = recipe.model.embedding_widths()
    assert pairs.workers.shape == (len(pairs.crowd), widths["ability"])
    assert pairs.tasks.shape == (len(pairs.crowd), widths["difficulty"])


def test_pairs_score_alike_by_factors_and_term_by_term() -> None:
    layout = layout_of(random_rows(2), 3)
    ops = NumpyOps(np.float64)
    outputs = UnrolledModel(CONFIG, random_tensors(CONFIG), ops).run(layout)
    posterior = np.exp(outputs.log_posterior[:, 0])
    heads = pair_heads()
    task, worker = np.array([0, 3, 6]), np.array([4, 0, 2])
    recall, belief = class_skill(layout, posterior)
    rows = PairRows(
        workers=outputs.workers[worker],
        tasks=outputs.tasks[task],
        class_skill=(recall[worker] * belief[task]).sum(1),
        crowd_log_odds=np.repeat(crowd_log_odds(layout, posterior), 3),
        is_right=np.ones(3, bool),
        is_balanced=np.ones(3, bool),
        crowd=np.zeros(3, int),
        mechanism=np.zeros(3, int),
    )
    score = estimate_pairs(heads, rows).score + rows.crowd_log_odds
    factors = factors_of(heads, layout, posterior, outputs.workers, outputs.tasks)
    np.testing.assert_allclose(score_pairs(factors, task, worker), 1 / (1 + np.exp(-score)))


def test_calibration_error_is_zero_where_shares_are_kept_and_else_the_gap() -> None:
    probability = np.array([0.75, 0.75, 0.75, 0.75, 0.05])
    right = np.array([True, True, True, False, False])
    assert calibration_error(probability, right) == pytest.approx(0.05 / 5)
    assert calibration_error(probability, ~right) == pytest.approx((4 * 0.5 + 0.95) / 5)
    assert calibration_error(np.ones(2), np.ones(2, bool)) == 0.0


def test_network_learns_what_no_line_can() -> None:
    x = np.random.default_rng(6).uniform(-2.0, 2.0, (3000, 2)).astype(np.float32)
    truth = torch.as_tensor(np.abs(x[:, 0]) - x[:, 1])
    torch.manual_seed(1)
    network = Network(x, hidden=16, outputs=1)
    rows = torch.as_tensor(x)

    def loss_of(place: torch.Tensor) -> torch.Tensor:
        error: torch.Tensor = network(rows[place])[:, 0] - truth[place]
        return error.square().mean()

    train(list(network.parameters()), loss_of, num_rows=3000, steps=300, seed=1)
    # The best line leaves the variance of |x|, a third.
    assert float(loss_of(torch.arange(3000)).detach()) < 0.1


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_rank_correlation_equals_scipys_with_ties(pairs: list[tuple[int, int]]) -> None:
    left, right = np.array(pairs).T
    found = spearman(left, right)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-12)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=25
    )
)
def test_order_within_groups_equals_comparing_all_pairs(rows: list[tuple[int, int, bool]]) -> None:
    wins = [
        (a > b) + (a == b) / 2
        for group, a, right in rows
        for other, b, also in rows
        if group == other and right and not also
    ]
    group, score, is_right = (np.array(column) for column in zip(*rows, strict=True))
    found = order_within(group, score, is_right)
    assert found == pytest.approx(np.mean(wins)) if wins else np.isnan(found)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=25))
def test_area_under_curve_equals_comparing_all_pairs(rows: list[tuple[int, bool]]) -> None:
    right = [score for score, is_right in rows if is_right]
    wrong = [score for score, is_right in rows if not is_right]
    found = area_under_curve(np.array([s for s, _ in rows]), np.array([r for _, r in rows]))
    if not right or not wrong:
        assert np.isnan(found)
    else:
        wins = sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
        assert found == pytest.approx(wins / (len(right) * len(wrong)))


def test_figures_within_crowds_do_not_profit_from_their_means() -> None:
    """Two crowds, in each of which the estimate is backwards; only their means agree."""
    crowd = np.repeat([3, 4], 10)
    step = np.tile(np.arange(10.0), 2)
    truth, estimate = 100.0 * crowd + step, 100.0 * crowd - step
    rows = Rows(
        embeddings=np.zeros((20, 1)),
        truth=truth,
        known=np.zeros((20, 4)),
        crowd=crowd,
        mechanism=np.zeros(20, int),
        num_annotations=np.ones(20, int),
    )
    figures = figures_of(HeadEstimates(rows, estimate, informed=truth))
    assert figures.pearson > 0.9
    assert figures.pearson_within == pytest.approx(-1.0)
    assert figures.spearman_within == pytest.approx(-1.0)
    assert figures.mean_squared_error == pytest.approx(np.mean((2 * step) ** 2))
    assert figures.informed_pearson == pytest.approx(1.0)
    assert (figures.rows, figures.crowds) == (20, 2)


def test_confusion_trace_is_the_mean_recall() -> None:
    posterior = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    answers = Answers(
        task_index=np.array([0, 0, 1], np.int32),
        worker_index=np.array([0, 1, 0], np.int32),
        option_index=np.array([0, 1, 0], np.int32),
        num_tasks=2,
        num_workers=3,
        num_options=3,
    )
    # Worker 0 answered option 0 twice; nobody met option 2; worker 2 gave no answer.
    expected = [(1.1 / 1.1 + 0.0 + 1 / 3) / 3, (0.0 + 1.0 + 1 / 3) / 3, 1 / 3]
    np.testing.assert_allclose(confusion_trace(answers, posterior), expected)


def write_set(folder: Path) -> None:
    """Worker k of 0..5 is wrong on k of 6 gold tasks; worker 9 answers one task alone."""
    folder.mkdir(parents=True)
    rows = [(t, w, "wrong" if t < w else "right") for t in range(6) for w in range(6)]
    with (folder / "label.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("task", "worker", "answer"), *rows, (0, 9, "right")])
    with (folder / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("task", "truth"), *((t, "right") for t in range(6))])


def test_abilities_are_held_against_accuracy_on_gold_tasks(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    [row] = measure_abilities(read_datasets(tmp_path), Scorer(frozen()), least_gold=2)
    assert row.workers == 6
    # Agreement with the majority: right on tasks 3..5, wrong on 0 and 1 and tied on 2 or so;
    # worked out by hand below, as ranks of 6 workers with accuracies 6..1 of 6.
    wins = [{"right": t + 1, "wrong": 5 - t} for t in range(6)]
    wins[0]["right"] += 1
    agreement = []
    for worker in range(6):
        credit = 0.0
        for t in range(6):
            mine, other = ("wrong", "right") if t < worker else ("right", "wrong")
            credit += (wins[t][mine] > wins[t][other]) + 0.5 * (wins[t][mine] == wins[t][other])
        agreement.append(credit)
    expected = stats.spearmanr(agreement, [6, 5, 4, 3, 2, 1]).statistic
    assert row.majority_agreement == pytest.approx(expected)
    assert -1.0 <= row.ability <= 1.0


def test_real_pairs_are_unseen_ones_of_gold_tasks(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    with (tmp_path / "set" / "label.csv").open("a", newline="") as file:
        csv.writer(file).writerows([("no truth", w, "right") for w in range(6)])
    [dataset] = read_datasets(tmp_path)
    weights = FrozenWeights(CONFIG, random_tensors(CONFIG), pair_heads())
    [row] = measure_compatibility([dataset], weights, seed=3)
    hidden = hidden_annotations(dataset.task_index, dataset.worker_index, np.random.default_rng(3))
    names = [dataset.tasks[t] for t in dataset.task_index[hidden]]
    assert row.pairs == sum(name != "no truth" for name in names) > 0
    options = [dataset.options[o] for o in dataset.option_index[hidden]]
    right = [o == "right" for o, name in zip(options, names, strict=True) if name != "no truth"]
    assert row.share_right == pytest.approx(np.mean(right))
    seen, gold = ~hidden, np.array([name != "no truth" for name in dataset.tasks])
    columns = dataset.task_index, dataset.worker_index, dataset.option_index
    task, worker, option = (column[seen] for column in columns)
    votes = majority_vote(
        Answers(
            task,
            worker,
            option,
            num_tasks=len(dataset.tasks),
            num_workers=len(dataset.workers),
            num_options=len(dataset.options),
        )
    )
    unseen = list(zip(*(column[hidden] for column in columns), strict=True))
    wins = [
        float(np.sign(votes.worker_score[w] - votes.worker_score[v]) + 1) / 2
        for t, w, o in unseen
        for u, v, p in unseen
        if t == u and gold[t] and dataset.options[o] == "right" and dataset.options[p] == "wrong"
    ]
    assert row.worker_order == pytest.approx(np.mean(wins))


def test_weights_without_a_head_leave_the_cell_empty(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    weights = dataclasses.replace(frozen(), heads={})
    [row] = measure_abilities(read_datasets(tmp_path), Scorer(weights), least_gold=2)
    assert np.isnan(row.ability)
    assert np.isfinite(row.confusion_trace)


def test_command_reports_synthetic_and_real_figures(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    train_model(recipe, tmp_path / "run", device=CPU)
    export = ["export", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "weights")]
    assert main([*export, "--head-crowds", "48", "--device", "cpu"]) == 0
    write_set(tmp_path / "data" / "six")
    picture = tmp_path / "heads.png"
    command = ["heads", "--weights", str(tmp_path / "weights"), "--recipe", str(TINY)]
    command += ["--crowds", "8", "--data", str(tmp_path / "data"), "--plot", str(picture)]
    capsys.readouterr()
    assert main([*command, "--device", "cpu"]) == 0
    report = capsys.readouterr().out
    for part in ("### ability", "### difficulty", "### compatibility", "| six | 6 |", "| mean | "):
        assert part in report
    assert picture.read_bytes().startswith(b"\x89PNG")
    figures = load_weights(tmp_path / "weights").recipe["heads"]
    assert figures["ability"]["spearman"] > 0.3
    assert figures["compatibility"]["auc"] > 0.5


def test_weights_of_unknown_training_need_a_recipe_or_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown: FrozenWeights = dataclasses.replace(frozen(), recipe={})
    save_weights(tmp_path, unknown)
    assert main(["heads", "--weights", str(tmp_path), "--device", "cpu"]) == 2
    assert "give --recipe or --data" in capsys.readouterr().err
