"""Dawid and Skene's model and its one-coin form, in SQL over all projects at once.

The same algorithm as crowdfm_core/methods/dawid_skene.py: every project ends by its own lower bound
and takes no part in later iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.sql import run_sql
from jobs.steps.joins import small
from jobs.steps.lineage import cut_lineage
from jobs.steps.methods_encoded import EncodedAnswers
from jobs.steps.methods_votes import TIE, SqlResult, vote
from jobs.steps.progress import Say
from jobs.steps.units import UNIT

__all__ = ["dawid_skene", "one_coin_dawid_skene", "weighted_dawid_skene"]

# Below this an expected count or a probability is 0 for the logarithms.
_SMALLEST = 1e-10


@dataclass(frozen=True)
class _Model:
    """parameters: from posteriors, with project_key and expectation; scores: of tasks, from
    parameters and fits; workers: their scores, from parameters and fits."""

    parameters: Callable[[DataFrame], DataFrame]
    scores: Callable[[DataFrame, DataFrame], DataFrame]
    workers: Callable[[DataFrame, DataFrame], DataFrame]


def dawid_skene(
    encoded: EncodedAnswers, say: Say, *, max_iterations: int = 100, tolerance: float = 1e-5
) -> SqlResult:
    """A confusion matrix per worker; Dawid and Skene (1979), equations 2.3 to 2.5."""
    values = {"unit": UNIT, "smallest": _SMALLEST}

    def parameters(posteriors: DataFrame) -> DataFrame:
        return run_sql(
            "dawid_skene_rates",
            values,
            answers=encoded.answers,
            posteriors=posteriors,
            projects=encoded.projects,
        )

    def scores(rates: DataFrame, fits: DataFrame) -> DataFrame:
        rates = rates.select("worker_key", "option_index", "true_option", "log_rate_units")
        return run_sql(
            "dawid_skene_scores",
            {"unit": UNIT},
            answers=encoded.answers,
            rates=rates,
            fits=fits,
        )

    def workers(rates: DataFrame, fits: DataFrame) -> DataFrame:
        return run_sql("dawid_skene_workers", values, rates=rates, fits=fits)

    return _fit(_Model(parameters, scores, workers), encoded, say, max_iterations, tolerance)


def weighted_dawid_skene(
    encoded: EncodedAnswers, say: Say, *, max_iterations: int = 100, tolerance: float = 1e-5
) -> SqlResult:
    """Votes weighted by the probability, in Dawid and Skene's model, of naming that option."""
    fit = dawid_skene(encoded, say, max_iterations=max_iterations, tolerance=tolerance)
    key = ("worker_key", "option_index")
    weights = cut_lineage(
        fit.scores.select("worker_key", F.explode("rates").alias("option_index", "weight"))
    )
    votes = vote(encoded, weights, by=key, num_weights=weights.count())
    return replace(fit, shares=votes.withColumn("abstains", F.lit(False)))


def one_coin_dawid_skene(
    encoded: EncodedAnswers, say: Say, *, max_iterations: int = 100, tolerance: float = 1e-5
) -> SqlResult:
    """One accuracy per worker; Zhang, Chen, Zhou and Jordan (2016), the one-coin model."""

    def parameters(posteriors: DataFrame) -> DataFrame:
        return run_sql(
            "one_coin_workers",
            {"unit": UNIT, "smallest": _SMALLEST},
            answers=encoded.answers,
            posteriors=posteriors,
            projects=encoded.projects,
        )

    def scores(coins: DataFrame, fits: DataFrame) -> DataFrame:
        coins = coins.select("worker_key", "log_odds_units")
        return run_sql(
            "one_coin_scores",
            {"unit": UNIT},
            answers=encoded.answers,
            coins=coins,
            fits=fits,
        )

    def workers(coins: DataFrame, fits: DataFrame) -> DataFrame:
        return coins.select("worker_key", F.col("accuracy").alias("score"))

    return _fit(_Model(parameters, scores, workers), encoded, say, max_iterations, tolerance)


def _fit(
    model: _Model, encoded: EncodedAnswers, say: Say, max_iterations: int, tolerance: float
) -> SqlResult:
    """Expectation and maximisation in turn, from vote shares.

    A project's result are the posteriors of its last expectation step: its parameters before
    that step are kept, and the step is done once more for all projects in the end.
    """
    posteriors = _vote_shares(encoded)
    parameters = cut_lineage(model.parameters(posteriors))
    num_parameters, num_projects = parameters.count(), encoded.num_projects  # never more later
    sizes = encoded.projects.select("project_key", "num_tasks", "num_annotations", "num_options")
    nothing = F.lit(None).cast("double").alias("bound")
    start = _maximise(
        sizes.select("*", nothing, F.lit(-1).cast("bigint").alias("iterations")),
        posteriors,
        parameters,
        tolerance,
    )
    fits = cut_lineage(start.withColumn("bound", nothing))  # the first step is never the last
    ended: list[_Ended] = []
    for iteration in range(1, max_iterations + 1):
        posteriors = cut_lineage(
            _expect(model, small(parameters, num_parameters), small(fits, num_projects))
        )
        moved = cut_lineage(model.parameters(posteriors))
        moved_fits = cut_lineage(_maximise(fits, posteriors, moved, tolerance))
        took_part, left, bound = _progress(moved_fits)
        say(f"iteration {iteration}: bound {bound:.6f} per annotation, {left} projects go on")
        is_last = iteration == max_iterations or left == 0
        if is_last or left < took_part:
            done = small(moved_fits if is_last else moved_fits.where("converged"), num_projects)
            ended.append(_Ended.of(model, done, parameters, fits, moved))
        if is_last:
            break
        going_on = small(moved_fits.where("NOT converged"), num_projects)
        parameters, fits = _of(going_on, moved), going_on
    last = reduce(_Ended.and_also, ended)
    posteriors = _expect(
        model, small(last.parameters, num_parameters), small(last.fits_before, num_projects)
    )
    posterior_of = "transform(posterior, (share, o) -> struct(o, share))"
    shares = f"map_from_entries(filter({posterior_of}, e -> e.share >= {TIE}))"
    return SqlResult(
        posteriors.select(
            "project_key",
            "task_key",
            F.expr(shares).alias("shares"),
            F.lit(False).alias("abstains"),
        ),
        last.scores,
        last.fits.select("project_key", "iterations", "converged"),
    )


@dataclass(frozen=True)
class _Ended:
    """Of projects that have ended: parameters and fits before their last step, and its results."""

    parameters: DataFrame
    fits_before: DataFrame
    scores: DataFrame
    fits: DataFrame

    @classmethod
    def of(
        cls,
        model: _Model,
        done: DataFrame,
        parameters: DataFrame,
        fits: DataFrame,
        moved: DataFrame,
    ) -> _Ended:
        """Copies, so that what the other projects had by then need not be kept."""
        scores = model.workers(_of(done, moved), done)
        return cls(
            cut_lineage(_of(done, parameters)),
            cut_lineage(_of(done, fits)),
            cut_lineage(scores),
            cut_lineage(done),
        )

    def and_also(self, other: _Ended) -> _Ended:
        return _Ended(
            self.parameters.unionByName(other.parameters),
            self.fits_before.unionByName(other.fits_before),
            self.scores.unionByName(other.scores),
            self.fits.unionByName(other.fits),
        )


def _vote_shares(encoded: EncodedAnswers) -> DataFrame:
    """Share of the task's votes per option, array by option_index, or what is known of it; grain:
    task_key."""
    share = (
        "CASE WHEN known_option IS NULL THEN coalesce(try_element_at(votes, o), 0) / "
        "tasks.num_annotations WHEN o = known_option THEN 1D ELSE 0D END"
    )
    projects = encoded.projects.select("project_key", "num_options")
    return (
        encoded.tasks.alias("tasks")
        .join(projects, "project_key")
        .select(
            "project_key",
            "task_key",
            F.expr(f"transform(sequence(0, num_options - 1), o -> {share})").alias("posterior"),
        )
    )


def _expect(model: _Model, parameters: DataFrame, fits: DataFrame) -> DataFrame:
    """Posteriors of the tasks whose projects are in both; grain: task_key."""
    return run_sql("em_posteriors", scores=model.scores(parameters, fits))


def _maximise(
    fits: DataFrame, posteriors: DataFrame, parameters: DataFrame, tolerance: float
) -> DataFrame:
    """Priors, bound, iterations and converged after one more iteration; grain: project_key."""
    return run_sql(
        "em_fits",
        {"unit": UNIT, "smallest": _SMALLEST, "tolerance": tolerance},
        posteriors=posteriors,
        parts=parameters.select("project_key", "expectation"),
        fits=fits,
    )


def _progress(fits: DataFrame) -> tuple[int, int, float]:
    """Projects, those of them that go on, and the mean lower bound per annotation."""
    bounds = F.sum(F.col("bound") * F.col("num_annotations"))
    row = fits.agg(
        F.count("*"), F.count_if(~F.col("converged")), bounds / F.sum("num_annotations")
    ).first()
    assert row is not None  # an aggregate of all rows has one
    return int(row[0]), int(row[1]), float(row[2] or 0.0)  # without projects there is none


def _of(projects: DataFrame, frame: DataFrame) -> DataFrame:
    """The rows of some projects."""
    return frame.join(projects.select("project_key"), "project_key", "left_semi")
