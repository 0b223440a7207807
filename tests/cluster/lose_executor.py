"""Scores a component on a cluster, all parts in one stage, and loses an executor in its middle.

`python -m tests.cluster.lose_executor MASTER FOLDER` prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from crowdfm_core.blocks.program import BlockProgram, supersteps
from crowdfm_core.config import InputConfig, JobConfig, OutputConfig, ScoringConfig
from crowdfm_core.weights import load_weights
from jobs.steps.blocks import plan_blocks, score_in_blocks
from jobs.steps.components import add_components, find_components
from jobs.steps.exchange import plan_exchanges
from jobs.steps.options import index_options
from tests.cluster.standalone import LOOPBACK_CONF
from tests.spark.answers import sizes_of
from udfs.blocks import FrozenModel

WEIGHTS = load_weights()


@dataclass(frozen=True)
class Deadly(FrozenModel):
    """Kills the executor that runs shard 0 in layer 3, once."""

    marker: str = ""

    def program(self) -> BlockProgram:
        program, marker = super().program(), Path(self.marker)

        class Killing:
            def __getattr__(self, name: str) -> Any:
                return getattr(program, name)

            def run(self, step: Any, part: Any, *args: Any) -> Any:
                if part == (True, 0) and step.layer == 3 and not marker.exists():
                    marker.touch()
                    daemon = Path(f"/proc/{os.getppid()}/stat").read_text()
                    os.kill(int(daemon.rpartition(")")[2].split()[1]), signal.SIGKILL)
                return program.run(step, part, *args)

        return Killing()


def answers(spark: SparkSession) -> DataFrame:
    draw = np.random.default_rng(3)
    rows = [
        ("p", f"t{task}", f"w{worker}", f"o{draw.integers(0, 3)}")
        for task in range(150)
        for worker in draw.choice(12, 4, replace=False)
    ]
    frame = pd.DataFrame(rows, columns=["project_id", "task_id", "worker_id", "label"])
    annotations = spark.createDataFrame(frame)
    return add_components(annotations, find_components(annotations))


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main(master: str, folder: str) -> None:
    conf: dict[str, bool | float | int | str | None] = {
        **LOOPBACK_CONF,
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.cores.max": "4",
    }
    spark = SparkSession.builder.master(master).config(map=conf).getOrCreate()
    annotations = answers(spark).persist()
    options = index_options(annotations)
    scoring = ScoringConfig(max_annotations_per_block=200, block_exchange="direct")
    config = JobConfig(
        input=InputConfig(path="unused"), output=OutputConfig(path="unused"), scoring=scoring
    )
    plan = plan_blocks(sizes_of(annotations), options, WEIGHTS.config, scoring)
    assert plan is not None
    (direct,) = plan_exchanges(spark, plan.components, WEIGHTS.config, config, say=say)
    frozen = ("default", WEIGHTS.sha256, 1, 5)
    marker = Path(folder) / "killed"

    def scores(model: FrozenModel) -> pd.DataFrame:
        (found,) = score_in_blocks(
            annotations,
            options,
            model,
            steps=supersteps(WEIGHTS.config),
            exchanges=[direct],
            max_bytes=2**30,
            say=say,
        )
        keys = ["task_id", "worker_id"]
        return found.toPandas().sort_values(keys).set_index(keys)

    lost = scores(Deadly(*frozen, marker=str(marker)))
    expected = scores(FrozenModel(*frozen))
    pd.testing.assert_frame_equal(lost, expected, check_exact=True)
    found = {"members": direct.members, "rows": len(lost), "killed": marker.exists()}
    sys.stdout.write(json.dumps(found) + "\n")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
