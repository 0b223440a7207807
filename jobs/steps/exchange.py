"""How the parts of components that are cut reach each other, and how many tasks hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession

from crowdfm_core.blocks.messages import Cut
from crowdfm_core.blocks.plan import bytes_together
from crowdfm_core.config import JobConfig
from crowdfm_core.errors import ScoringError
from crowdfm_core.models import ModelConfig
from jobs.steps.lineage import executors_last
from jobs.steps.progress import Say

__all__ = ["SHUFFLE", "Exchange", "plan_exchange"]

_MOST_MEMBERS = 256  # each is connected to all others
# What would have to cover connections between tasks, too.
_ENCRYPTED = (
    "spark.network.crypto.enabled",
    "spark.authenticate.enableSaslEncryption",
    "spark.ssl.rpc.enabled",
    "spark.io.encryption.enabled",
)


@dataclass(frozen=True)
class Exchange:
    """members: tasks of one barrier stage that hold all parts and are connected to each other, or
    None, where all that is sent takes the way over Spark's shuffle. falls_back: whether it takes
    that way where such a stage fails."""

    members: int | None
    falls_back: bool = False


SHUFFLE = Exchange(None)


def plan_exchange(
    session: SparkSession,
    cuts: Sequence[Cut],
    model: ModelConfig,
    config: JobConfig,
    *,
    say: Say,
) -> Exchange:
    """Say how the parts of some components reach each other.

    There are no more members than run at the same time although an executor is lost and not
    replaced, as Spark would wait for ever. say: takes a line where the shuffle is the second
    choice. Raises ScoringError where scoring.block_exchange asks for what cannot be.
    """
    scoring = config.scoring
    if scoring.block_exchange == "shuffle":
        return SHUFFLE
    blocks = sum(cut.blocks for cut in cuts)
    members = min(max(_lasting_slots(session), 1), blocks, _MOST_MEMBERS)
    needed = bytes_together(
        model,
        cuts,
        members,
        num_draws=config.model.num_draws,
        assigns=config.assignments is not None,
    )
    problems = [
        f"{name} is true, and connections between tasks are not encrypted"
        for name in _ENCRYPTED
        if _is_true(session, name)
    ]
    if _is_true(session, "spark.dynamicAllocation.enabled") and not _is_local(session):
        problems.append("spark.dynamicAllocation.enabled is true, and Spark has no barriers then")
    if needed > scoring.max_model_gib * 2**30:
        problems.append(
            f"all parts in memory need about {needed / 2**30:.1f} GiB in each of {members} tasks, "
            f"and scoring.max_model_gib is {scoring.max_model_gib:g}"
        )
    asked_for = scoring.block_exchange == "direct"
    if not problems:
        return Exchange(members, falls_back=not asked_for)
    if asked_for:
        raise ScoringError(
            f"scoring.block_exchange: expected a cluster that can do direct, but "
            f"{'; '.join(problems)}; change that, or set it to auto"
        )
    say(f"blocks exchange messages over shuffles: {'; '.join(problems)}")
    return SHUFFLE


def _lasting_slots(session: SparkSession) -> int:
    """Tasks that run at the same time, also when the largest of several executors is lost."""
    jvm_context = session.sparkContext._jsc.sc()
    profile = jvm_context.resourceProfileManager().defaultResourceProfile()
    slots = int(jvm_context.maxNumConcurrentTasks(profile))
    if _is_local(session):
        return slots
    known = jvm_context.statusStore().executorList(True)
    executors = (known.apply(index) for index in range(known.size()))
    tasks = [int(executor.maxTasks()) for executor in executors if executor.id() != "driver"]
    return slots - max(tasks) if len(tasks) > 1 else slots


def _is_local(session: SparkSession) -> bool:
    return executors_last(session.sparkContext.master or "")


def _is_true(session: SparkSession, setting: str) -> bool:
    value = session.sparkContext.getConf().get(setting, "false") or "false"
    return value.strip().lower() == "true"
