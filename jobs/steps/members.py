"""How many tasks can hold all parts of the components that are cut, and talk to each other."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import SparkSession

from crowdfm_core.blocks.messages import Cut
from crowdfm_core.blocks.plan import bytes_together
from crowdfm_core.config import ScoringConfig
from crowdfm_core.errors import ScoringError
from crowdfm_core.models import ModelConfig
from jobs.steps.lineage import executors_last
from jobs.steps.progress import Say

__all__ = ["count_members"]

# What would have to cover connections between tasks, too.
_ENCRYPTED = ("spark.network.crypto.enabled", "spark.ssl.rpc.enabled")


def count_members(
    session: SparkSession,
    cuts: Sequence[Cut],
    model: ModelConfig,
    scoring: ScoringConfig,
    *,
    say: Say,
) -> int | None:
    """Return the tasks of one barrier stage for all parts, or None where these exchange messages
    over Spark's shuffle.

    There are no more than run at the same time although an executor is lost and not replaced, as
    Spark would wait for ever. say: takes a line where the shuffle is the second choice. Raises
    ScoringError where scoring.block_exchange asks for what cannot be.
    """
    if scoring.block_exchange == "shuffle":
        return None
    members = min(max(_lasting_slots(session), 1), sum(cut.blocks for cut in cuts))
    needed = bytes_together(model, cuts, members) / 2**30
    settings = session.sparkContext.getConf()
    problems = [
        f"{name} is true, and connections between tasks are not encrypted"
        for name in _ENCRYPTED
        if settings.get(name, "false") == "true"
    ]
    if settings.get("spark.dynamicAllocation.enabled", "false") == "true":
        problems.append("spark.dynamicAllocation.enabled is true, and Spark has no barriers then")
    if needed > scoring.max_model_gib:
        problems.append(
            f"all parts in memory need about {needed:.1f} GiB in each of {members} tasks, and "
            f"scoring.max_model_gib is {scoring.max_model_gib:g}"
        )
    if not problems:
        return members
    if scoring.block_exchange == "direct":
        raise ScoringError(
            f"scoring.block_exchange: expected a cluster that can do direct, but "
            f"{'; '.join(problems)}; change that, or set it to auto"
        )
    say(f"blocks exchange messages over shuffles: {'; '.join(problems)}")
    return None


def _lasting_slots(session: SparkSession) -> int:
    """Tasks that run at the same time, also when one of several executors is lost."""
    context = session.sparkContext
    jvm_context = context._jsc.sc()
    profile = jvm_context.resourceProfileManager().defaultResourceProfile()
    slots = int(jvm_context.maxNumConcurrentTasks(profile))
    if executors_last(context.master or ""):
        return slots
    executors = jvm_context.getExecutorIds().size()
    return slots - -(-slots // executors) if executors > 1 else slots
