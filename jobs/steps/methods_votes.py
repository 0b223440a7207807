"""Methods that weigh votes, in SQL over all projects at once; see crowdfm_core/methods.

Each takes all annotations and `say`, which gets a line per iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.sql import run_sql
from jobs.steps.joins import small
from jobs.steps.lineage import cut_lineage
from jobs.steps.methods_encoded import EncodedAnswers
from jobs.steps.progress import Say
from jobs.steps.units import UNIT

__all__ = [
    "TIE",
    "SqlResult",
    "gold_majority_vote",
    "iwmv",
    "naive_soft",
    "pm",
    "twothird",
    "vote",
    "wawa",
    "zero_based_skill",
]

TIE = 1e-9  # how close probabilities are in a tie, and votes as a share of the most
_SMALLEST_RATE = 1e-9  # of errors, in pm
_CONSENSUS, _FEWEST_ANSWERS = 2.0 / 3.0, 2  # of twothird
_ZBS_ITERATIONS, _ZBS_HALVED_EVERY = 100, 20


@dataclass(frozen=True)
class SqlResult:
    """What a method in SQL says, by keys.

    shares: project_key, task_key, shares, abstains. scores: worker_key, score. fits: project_key,
    iterations, converged. undefined: why projects that are not in `fits` have no result.
    """

    shares: DataFrame
    scores: DataFrame
    fits: DataFrame
    undefined: str = ""


def naive_soft(encoded: EncodedAnswers, say: Say) -> SqlResult:
    """The distribution of a task's answers."""
    scores = run_sql(
        "naive_soft_workers", {"unit": UNIT}, answers=encoded.answers, tasks=encoded.tasks
    )
    return SqlResult(_vote_shares(encoded), scores, _single_pass(encoded))


def twothird(encoded: EncodedAnswers, say: Say) -> SqlResult:
    """Majority voting that abstains without two thirds of at least two answers."""
    most = F.array_max(F.map_values("shares"))
    agreed = (most >= _CONSENSUS - TIE) & (F.col("num_annotations") >= _FEWEST_ANSWERS)
    shares = _vote_shares(encoded).withColumn("abstains", ~agreed)
    scores = run_sql(
        "twothird_workers",
        answers=encoded.answers,
        results=run_sql("method_results", {"tie": TIE}, shares=shares),
        projects=encoded.projects,
    )
    return SqlResult(shares, scores, _single_pass(encoded))


def wawa(encoded: EncodedAnswers, say: Say) -> SqlResult:
    """Worker agreement with aggregate."""
    skill = F.col("num_wins") / F.col("num_annotations")
    weights = cut_lineage(
        _wins(encoded, vote(encoded, _equal(encoded))).select("worker_key", skill.alias("weight"))
    )
    return _weighted(encoded, weights, _single_pass(encoded))


def gold_majority_vote(encoded: EncodedAnswers, say: Say) -> SqlResult:
    """Votes weighted by the accuracy on gold tasks."""
    weights = cut_lineage(run_sql("gold_accuracies", answers=encoded.answers))
    fits = _single_pass(encoded).join(weights.select("project_key"), "project_key", "left_semi")
    result = _weighted(encoded, weights, fits)
    return replace(result, undefined="nobody answered a gold task")


def zero_based_skill(
    encoded: EncodedAnswers, say: Say, *, iterations: int = _ZBS_ITERATIONS
) -> SqlResult:
    """Weights that move towards the agreement with their votes; all projects take every step."""
    first = (1.0 / F.col("num_options") + 1e-5).alias("weight")
    weights = encoded.workers.join(encoded.projects, "project_key").select("worker_key", first)
    rate = 1.0
    for iteration in range(1, iterations + 1):
        rate *= 0.5 if iteration % _ZBS_HALVED_EVERY == 0 else 1.0
        agreement = F.col("num_wins") / F.col("num_annotations")
        moved = F.col("weight") + rate * (agreement - F.col("weight"))
        wins = _wins(encoded, vote(encoded, weights))
        weights = cut_lineage(
            wins.join(weights, "worker_key").select("worker_key", moved.alias("weight"))
        )
        say(f"iteration {iteration} of {iterations}")
    fits = encoded.projects.select(
        "project_key",
        F.lit(iterations).cast("bigint").alias("iterations"),
        F.lit(True).alias("converged"),
    )
    return _weighted(encoded, weights, fits)


def pm(encoded: EncodedAnswers, say: Say) -> SqlResult:
    """Weights -log(error rate / largest error rate of the project)."""
    rate = F.greatest(
        (F.col("num_annotations") - F.col("num_wins")) / F.col("num_annotations"),
        F.lit(_SMALLEST_RATE),
    )
    largest = F.max(rate).over(Window.partitionBy("project_key"))
    return _alternate(encoded, -F.log(rate / largest) + _SMALLEST_RATE, say)


def iwmv(encoded: EncodedAnswers, say: Say) -> SqlResult:
    """Weights num_options x accuracy - 1; the score is the accuracy."""
    result = _alternate(
        encoded, F.col("num_options") * (F.col("num_wins") / F.col("num_annotations")) - 1.0, say
    )
    of_worker = encoded.workers.join(encoded.projects, "project_key")
    accuracy = (F.col("score") + 1.0) / F.col("num_options")
    scores = result.scores.join(of_worker.select("worker_key", "num_options"), "worker_key")
    return SqlResult(
        result.shares, scores.select("worker_key", accuracy.alias("score")), result.fits
    )


def _alternate(
    encoded: EncodedAnswers, weight: Column, say: Say, *, max_iterations: int = 100
) -> SqlResult:
    """Vote, weigh workers, vote with the weights, until no winner of the project changes.

    weight: of a worker, from num_wins, num_annotations and num_options. A project that has ended
    takes no part in later iterations.
    """
    sizes = encoded.projects.select("project_key", "num_options")
    tasks = cut_lineage(vote(encoded, _equal(encoded)))
    ended: list[DataFrame] = []
    for iteration in range(1, max_iterations + 1):
        wins = _wins(encoded, tasks).join(sizes, "project_key")
        weights = cut_lineage(wins.select("project_key", "worker_key", weight.alias("weight")))
        voted = cut_lineage(vote(encoded, weights))
        before = tasks.select("task_key", F.col("winners").alias("before"))
        fits = cut_lineage(
            voted.join(before, "task_key")
            .groupBy("project_key")
            .agg(F.every(F.col("winners") == F.col("before")).alias("converged"))
            .withColumn("iterations", F.lit(iteration).cast("bigint"))
        )
        going_on = fits.where("NOT converged")
        left = going_on.count()
        say(f"iteration {iteration}: {left} projects go on")
        is_last = iteration == max_iterations or left == 0
        done = small(fits if is_last else fits.where("converged"), encoded.num_projects)
        ended.append(cut_lineage(weights.join(done, "project_key")))
        if is_last:
            break
        keys = small(going_on.select("project_key"), encoded.num_projects)
        tasks = voted.join(keys, "project_key", "left_semi")
    final = cut_lineage(reduce(DataFrame.unionByName, ended))
    fits = final.select("project_key", "iterations", "converged").distinct()
    return _weighted(encoded, final, fits)


def _weighted(encoded: EncodedAnswers, weights: DataFrame, fits: DataFrame) -> SqlResult:
    """Shares of the weighted votes as probabilities, weights as scores."""
    shares = vote(encoded, weights).withColumn("abstains", F.lit(False))
    return SqlResult(shares, weights.select("worker_key", F.col("weight").alias("score")), fits)


def vote(
    encoded: EncodedAnswers,
    weights: DataFrame,
    *,
    by: Sequence[str] = ("worker_key",),
    num_weights: int | None = None,
) -> DataFrame:
    """Shares of the weighted votes, and who wins by them; grain: task_key.

    weights: a weight by the key `by`, at most num_weights rows (default: one per worker); answers
    without one do not count.
    """
    rows = encoded.num_workers if num_weights is None else num_weights
    answers = encoded.answers.join(small(weights.select(*by, "weight"), rows), list(by))
    values = {"unit": UNIT, "tie": TIE}
    return run_sql("weighted_votes", values, answers=answers, projects=encoded.projects)


def _wins(encoded: EncodedAnswers, tasks: DataFrame) -> DataFrame:
    return run_sql("worker_wins", {"unit": UNIT}, answers=encoded.answers, winners=tasks)


def _equal(encoded: EncodedAnswers) -> DataFrame:
    return encoded.workers.select("worker_key", F.lit(1.0).alias("weight"))


def _vote_shares(encoded: EncodedAnswers) -> DataFrame:
    share = F.transform_values("votes", lambda _, votes: votes / F.col("num_annotations"))
    return encoded.tasks.select(
        "project_key",
        "task_key",
        "num_annotations",
        share.alias("shares"),
        F.lit(False).alias("abstains"),
    )


def _single_pass(encoded: EncodedAnswers) -> DataFrame:
    return encoded.projects.select(
        "project_key", F.lit(1).cast("bigint").alias("iterations"), F.lit(True).alias("converged")
    )
