"""The methods of one run, one after another: what they share is made once."""

from __future__ import annotations

from functools import cached_property

from pyspark import StorageLevel
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crowdfm_core.config import JobConfig
from jobs.steps.batches import assign_batches
from jobs.steps.crowdfm import Aggregated, aggregate_with_crowdfm
from jobs.steps.gold import add_known_options, methods_with_gold
from jobs.steps.majority_vote import (
    count_votes,
    majority_vote_labels,
    majority_vote_workers,
)
from jobs.steps.methods_encoded import EncodedAnswers, encode_answers
from jobs.steps.methods_sql import aggregate_in_sql
from jobs.steps.options import index_options
from jobs.steps.outputs import fits_from_scores, labels_from_scores, workers_from_scores
from jobs.steps.progress import Say
from jobs.steps.scoring import arrange_batches
from udfs.aggregate_projects import KNOWN_OPTION, METHOD_SCHEMA, aggregate_projects

__all__ = ["WITHOUT_FITS", "Methods"]

WITHOUT_FITS = ("crowdfm", "majority_vote")  # they have no rows in method_fits


class Methods:
    """Runs methods on the annotations of all projects.

    annotations: with component_id; components: their sizes; gold: from gold_labels. Every method's
    work is done when its call returns, but for what follows from its result row by row. What is
    kept for that is added to `persisted`, also where a method fails. say: takes a line per
    iteration of a method in SQL.
    """

    def __init__(
        self,
        annotations: DataFrame,
        components: DataFrame,
        gold: DataFrame,
        config: JobConfig,
        weights_sha256: str,
        profile: ResourceProfile | None,
        persisted: list[DataFrame],
        say: Say,
    ) -> None:
        self.annotations = annotations
        self.components = components
        self.gold = gold
        self.with_gold = methods_with_gold(config)
        self.config = config
        self.weights_sha256 = weights_sha256
        self.profile = profile
        self.persisted = persisted
        self.say = say

    def run(self, method: str) -> Aggregated:
        """Run one method of the registry, or crowdfm."""
        if method == "crowdfm":
            result = self._crowdfm()
        elif method == "majority_vote":
            result = self._majority_vote()
        elif self.config.engines.get(method) == "sql":
            result = self._sql(method)
        else:
            result = self._arrays(method)
        self.persisted.extend(result.persisted)
        result.persisted[0].count()  # works now, once, under the clock of the method's phase
        return result

    @cached_property
    def votes(self) -> DataFrame:
        """Votes of every task, see count_votes; quality starts from them, too."""
        votes = count_votes(self.annotations, self._options).persist(StorageLevel.DISK_ONLY)
        self.persisted.append(votes)
        return votes

    @cached_property
    def _options(self) -> DataFrame:
        options = index_options(self.annotations).persist()
        self.persisted.append(options)
        return options

    def _crowdfm(self) -> Aggregated:
        return aggregate_with_crowdfm(
            self.annotations,
            self.components,
            self._options,
            self.gold,
            self.config,
            self.weights_sha256,
            self.profile,
            say=lambda line: self.say(f"crowdfm: {line}"),
        )

    def _majority_vote(self) -> Aggregated:
        labels = majority_vote_labels(self.votes, self.config.output.max_probabilities)
        workers = majority_vote_workers(self.annotations, self.votes)
        return Aggregated(labels, workers, (self.votes,))

    def _sql(self, method: str) -> Aggregated:
        return aggregate_in_sql(
            method,
            self._encoded if method in self.with_gold else self._encoded.without_gold(),
            max_probabilities=self.config.output.max_probabilities,
            say=lambda line: self.say(f"{method}: {line}"),
        )

    @cached_property
    def _encoded(self) -> EncodedAnswers:
        return encode_answers(self.annotations, self._options, self.gold)

    def _arrays(self, method: str) -> Aggregated:
        scores = self._whole_projects.mapInArrow(
            aggregate_projects(
                method=method,
                max_probabilities=self.config.output.max_probabilities,
                max_bytes=int(self.config.scoring.max_method_gib * 2**30),
                with_gold=method in self.with_gold,
            ),
            METHOD_SCHEMA,
        ).persist(StorageLevel.DISK_ONLY)
        return Aggregated(
            labels_from_scores(scores, method),
            workers_from_scores(scores, method),
            (scores,),
            fits_from_scores(scores, method),
        )

    @cached_property
    def _whole_projects(self) -> DataFrame:
        """Annotations in batches of whole projects."""
        projects = self.components.groupBy("project_id").agg(
            F.sum("num_annotations").alias("num_annotations")
        )
        batches = assign_batches(
            projects,
            max_annotations=self.config.scoring.max_annotations_per_batch,
            slots=projects.sparkSession.sparkContext.defaultParallelism,
            key=("project_id",),
        ).persist()
        in_sql = [method for method, engine in self.config.engines.items() if engine == "sql"]
        on_arrays = set(self.config.methods) - {*WITHOUT_FITS, *in_sql}
        if on_arrays & set(self.with_gold):
            annotations = add_known_options(self.annotations, self._options, self.gold)
            arranged = arrange_batches(annotations, self._options, batches, also=(KNOWN_OPTION,))
        else:
            arranged = arrange_batches(self.annotations, self._options, batches)
        self.persisted.append(batches)
        if len(on_arrays) > 1:
            # The next method is spared the joins and the shuffle.
            arranged = arranged.persist(StorageLevel.DISK_ONLY)
            self.persisted.append(arranged)
        return arranged
