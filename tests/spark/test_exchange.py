"""Which components in blocks are held in memory, and by how many tasks."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Literal

import pytest
from pyspark.sql import SparkSession

from crowdfm_core.blocks.messages import Cut
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.config import InputConfig, JobConfig, OutputConfig, ScoringConfig
from crowdfm_core.errors import ScoringError
from crowdfm_core.weights import load_weights
from jobs.steps.exchange import gib_beside_java, plan_exchanges
from udfs.blocks import CutComponent

CONFIG = JobConfig(input=InputConfig(path="unused"), output=OutputConfig(path="unused"))
WEIGHTS = load_weights()


def cut_component(number: int, annotations: int) -> CutComponent:
    cut = Cut(5, 1, ComponentSizes(annotations, annotations // 10, annotations // 1000, 4))
    return CutComponent(f"p{number}", "c", cut, first_block=5 * number, first_shard=100 + number)


def test_exchanges_are_planned_by_slots_and_memory(spark: SparkSession) -> None:
    """In local[2]. As many components together as fit; what fits nowhere alone goes over shuffles,
    and is refused where that was not asked for."""
    sizes = [10**6, 10**6, 10**7, 10**6]
    cut = [cut_component(number, annotations) for number, annotations in enumerate(sizes)]
    lines: list[str] = []

    def planned(
        asked: Literal["auto", "direct", "shuffle"], gib: float
    ) -> list[tuple[list[str], int | None, bool]]:
        scoring = ScoringConfig(block_exchange=asked, max_model_gib=gib)
        config = replace(CONFIG, scoring=scoring)
        found = plan_exchanges(spark, cut, WEIGHTS.config, config, say=lines.append)
        return [([c.project_id for c in e.components], e.members, e.falls_back) for e in found]

    everything = ["p0", "p1", "p2", "p3"]
    assert planned("auto", 10) == [(everything, 2, True)]
    assert planned("direct", 10) == [(everything, 2, False)]
    assert planned("shuffle", 10) == [(everything, None, False)]
    assert planned("direct", 0.98) == [(["p0", "p1"], 2, False), (["p2", "p3"], 2, False)]
    assert lines == []
    assert planned("auto", 0.4) == [
        (["p0", "p1"], 2, True),
        (["p2"], None, False),
        (["p3"], 2, True),
    ]
    (line,) = lines
    assert re.search(r"over shuffles: project 'p2' takes about \d+\.\d GiB in each of 2", line)
    with pytest.raises(ScoringError, match=r"block_exchange: .* may take 0.4 .*; change that"):
        planned("direct", 0.4)


def test_tasks_may_take_what_containers_leave_them_beside_java(spark: SparkSession) -> None:
    """Python workers live in the executor's overhead; YARN and Kubernetes stop what takes more."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    conf = jvm.org.apache.spark.SparkConf(False).set("spark.executor.memory", "16g")
    assert gib_beside_java(conf, "yarn", 4) == pytest.approx(0.4, abs=1e-3)
    assert gib_beside_java(conf, "spark://master:7077", 4) == math.inf
    conf.set("spark.executor.memoryOverhead", "8g")
    assert gib_beside_java(conf, "k8s://https://cluster", 4) == 2
    assert gib_beside_java(conf, "spark://master:7077", 1) == 8
    assert gib_beside_java(conf, "local[4]", 4) == math.inf
    conf.set("spark.executor.memoryOverhead", "512")  # MiB
    assert gib_beside_java(conf, "yarn", 2) == 0.25
    conf.set("spark.executor.pyspark.memory", "6g")  # which Python workers then have instead
    assert gib_beside_java(conf, "yarn", 2) == 3
