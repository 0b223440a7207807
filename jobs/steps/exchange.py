"""How the parts of components that are cut reach each other, and how many tasks hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import SparkSession

from crowdfm_core.blocks.plan import bytes_together
from crowdfm_core.config import JobConfig
from crowdfm_core.errors import ScoringError
from crowdfm_core.models import ModelConfig
from jobs.steps.lineage import executors_last
from jobs.steps.progress import Say
from udfs.score_blocks import CutComponent

__all__ = ["Exchange", "plan_exchanges"]

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
    slots = max(min(_lasting_slots(session), _MOST_MEMBERS), 1)

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
        groups = _groups(components, lambda together: gib(together) <= scoring.max_model_gib)
        exchanges = [Exchange(group, members(group), falls_back=True) for group in groups]
    for place, exchange in enumerate(exchanges):
        group = exchange.components
        if exchange.members is not None and gib(group) > scoring.max_model_gib:
            problems.append(
                f"project {group[0].project_id!r} takes about {gib(group):.1f} GiB in each of "
                f"{exchange.members} tasks to hold it in memory, and scoring.max_model_gib is "
                f"{scoring.max_model_gib:g}"
            )
            exchanges[place] = Exchange(group)
    if scoring.block_exchange == "direct":
        if problems:
            raise ScoringError(
                "scoring.block_exchange: expected a cluster that can do direct, but "
                f"{'; '.join(problems)}; change that, or set it to auto"
            )
        return [replace(exchange, falls_back=False) for exchange in exchanges]
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
