"""How the parts of components that are cut reach each other, and how many tasks hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from crowdfm_core.blocks.plan import bytes_together
from crowdfm_core.config import JobConfig
from crowdfm_core.errors import ScoringError
from crowdfm_core.models import ModelConfig
from jobs.steps.lineage import executors_last
from jobs.steps.progress import Say
from udfs.blocks import CutComponent

__all__ = ["Exchange", "gib_beside_java", "plan_exchanges"]

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
    """How the parts of some components that follow one another reach each other.

    members: tasks of one barrier stage that hold all of them and are connected to each other, or
    None, where all that is sent takes the way over Spark's shuffle. falls_back: whether it takes
    that way where such a stage fails.
    """

    components: Sequence[CutComponent]
    members: int | None = None
    falls_back: bool = False


def plan_exchanges(
    session: SparkSession,
    components: Sequence[CutComponent],
    model: ModelConfig,
    config: JobConfig,
    *,
    say: Say,
) -> list[Exchange]:
    """Say how the parts of components reach each other: of all of them, in order, as many together
    as fit into the memory of the tasks that hold them.

    What does not fit alone takes the way over shuffles; so does everything where Spark's settings
    ask for it. The tasks are no more than run at the same time although an executor is lost and not
    replaced, as Spark would wait for ever. say: takes a line where the shuffle is the second
    choice. Raises ScoringError where scoring.block_exchange asks for what cannot be.
    """
    scoring = config.scoring
    if scoring.block_exchange == "shuffle":
        return [Exchange(components)]
    tasks = _tasks_of_executors(session)
    slots = max(min(_lasting(tasks), _MOST_MEMBERS), 1)
    context = session.sparkContext
    beside_java = gib_beside_java(context._jsc.sc().conf(), context.master or "", max(tasks))
    limit = min(scoring.max_model_gib, beside_java)

    def members(together: Sequence[CutComponent]) -> int:
        return min(slots, sum(component.cut.blocks for component in together))

    def gib(together: Sequence[CutComponent]) -> float:
        cuts = [component.cut for component in together]
        assigns = config.assignments is not None
        draws = config.model.num_draws
        needed = bytes_together(model, cuts, members(together), num_draws=draws, assigns=assigns)
        return needed / 2**30

    problems = _problems(session)
    if problems:
        exchanges = [Exchange(components)]
    else:
        groups = _groups(components, lambda together: gib(together) <= limit)
        falls_back = scoring.block_exchange == "auto"
        exchanges = [Exchange(group, members(group), falls_back) for group in groups]
    for place, exchange in enumerate(exchanges):
        group = exchange.components
        if exchange.members is not None and gib(group) > limit:
            problems.append(
                f"project {group[0].project_id!r} takes about {gib(group):.1f} GiB in each of "
                f"{exchange.members} tasks to hold it in memory, and each may take {limit:.3g} "
                "(scoring.max_model_gib, and its share of spark.executor.memoryOverhead)"
            )
            exchanges[place] = Exchange(group)
    if problems and scoring.block_exchange == "direct":
        raise ScoringError(
            "scoring.block_exchange: expected a cluster that can do direct, but "
            f"{'; '.join(problems)}; change that, or set it to auto"
        )
    if problems:
        say(f"blocks exchange messages over shuffles: {'; '.join(problems)}")
    return exchanges


def _groups(
    components: Sequence[CutComponent], fits: Callable[[Sequence[CutComponent]], bool]
) -> list[list[CutComponent]]:
    """Those that follow one another and fit together; one that fits nowhere is alone."""
    groups: list[list[CutComponent]] = []
    for component in components:
        if groups and fits([*groups[-1], component]):
            groups[-1].append(component)
        else:
            groups.append([component])
    return groups


def _problems(session: SparkSession) -> list[str]:
    """What in Spark's settings speaks against connections between tasks."""
    problems = [
        f"{name} is true, and connections between tasks are not encrypted"
        for name in _ENCRYPTED
        if _is_true(session, name)
    ]
    if _is_true(session, "spark.dynamicAllocation.enabled") and not _is_local(session):
        problems.append("spark.dynamicAllocation.enabled is true, and Spark has no barriers then")
    return problems


def _tasks_of_executors(session: SparkSession) -> list[int]:
    """Tasks that every executor runs at the same time."""
    jvm_context = session.sparkContext._jsc.sc()
    if _is_local(session):
        profile = jvm_context.resourceProfileManager().defaultResourceProfile()
        return [int(jvm_context.maxNumConcurrentTasks(profile))]
    known = jvm_context.statusStore().executorList(True)
    executors = (known.apply(index) for index in range(known.size()))
    return [int(executor.maxTasks()) for executor in executors if executor.id() != "driver"] or [1]


def _lasting(tasks: Sequence[int]) -> int:
    """Tasks that run at the same time also when the largest of several executors is lost."""
    return sum(tasks) - max(tasks) if len(tasks) > 1 else tasks[0]


def gib_beside_java(conf: Any, master: str, tasks: int) -> float:
    """Memory that each of an executor's tasks may take in Python, in GiB, or infinity where nothing
    bounds it; conf: Java's SparkConf."""
    if executors_last(master):
        return math.inf
    mib = conf.getSizeAsMb("spark.executor.pyspark.memory", "0")
    mib = mib or conf.getSizeAsMb("spark.executor.memoryOverhead", "0")
    if not mib and master.startswith(("yarn", "k8s")):  # which stop what takes more
        share = conf.getDouble("spark.executor.memoryOverheadFactor", 0.1)
        mib = max(384, share * conf.getSizeAsMb("spark.executor.memory", "1g"))
    return mib / 1024 / tasks if mib else math.inf


def _is_local(session: SparkSession) -> bool:
    return executors_last(session.sparkContext.master or "")


def _is_true(session: SparkSession, setting: str) -> bool:
    value = session.sparkContext.getConf().get(setting, "false") or "false"
    return value.strip().lower() == "true"
