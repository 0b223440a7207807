"""Plans a synthetic lake: which projects there are, and the pieces in which they are drawn.

A piece is a range of tasks of one crowd with all their answers. Everything drawn for it comes
from a seed made of the lake's, the crowd's and its own number, so that the rows of a lake do not
depend on who draws which piece, or in what order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crowdfm_core.errors import ConfigError
from crowdfm_core.simulation.lake_answers import PRESETS
from crowdfm_core.simulation.pieces import log_uniform

__all__ = ["MIXED", "CrowdPlan", "Lake", "LakePiece", "LakeSizes", "draw_plans"]

MIXED = "mixed"  # every project has a preset of its own, drawn from all
_PIECE = 200_000  # annotations; an answer takes about 200 bytes while its piece is drawn
_MOST_WORKERS = 100_000
_PLANS, _ORDER = 1, 2  # streams of the lake's seed, beside those of its crowds

# Sorted as the job sorts them; a project takes one of these sets.
_OPTION_SETS = (
    ("no", "yes"),
    ("negative", "neutral", "positive"),
    ("adult", "safe", "violent"),
    ("none", "speed limit", "stop", "yield"),
    ("bad", "excellent", "fair", "good", "perfect"),
    ("coulure", "rayure", "éclat"),
    ("blackbird", "blue tit", "chaffinch", "great tit", "magpie", "robin", "wren"),
    tuple("0123456789"),
)


@dataclass(frozen=True)
class CrowdPlan:
    """One crowd of a project: it shares no task and no worker with other crowds of the project.

    number: seeds all draws, unique in the lake. team: makes the ids differ from those of the
    project's other crowds; most projects have one crowd and an empty team.
    """

    number: int
    project: str
    options: tuple[str, ...]
    annotations: int
    tasks: int
    workers: int
    preset: str
    team: str = ""

    def __post_init__(self) -> None:
        most = self.tasks * self.workers
        if not 1 <= self.tasks <= self.annotations <= most:
            problem = (
                f"annotations of {self.project}: expected one per task and at most one per task "
                f"and worker ({self.tasks} to {most}), got {self.annotations}"
            )
            raise ConfigError([problem], where="lake")


@dataclass(frozen=True)
class LakePiece:
    """Tasks first_task .. first_task + tasks - 1 of a crowd, with that many annotations."""

    plan: CrowdPlan
    number: int
    first_task: int
    tasks: int
    annotations: int


@dataclass(frozen=True)
class LakeSizes:
    """How a lake is drawn; every range is [low, high], uniform unless said otherwise.

    annotations: distinct answers in all; repeated and bad rows come on top. Sizes of projects
    fall with a power of their rank, so that the largest has `largest_share` of all annotations;
    without one the power is 1 (Zipf). answers_per_worker: mean of a project, log-uniform.
    options: None takes the option sets as they come, a number takes options "a", "b", ...
    """

    annotations: int
    projects: int
    largest_share: float | None = None
    answers_per_task: tuple[float, float] = (3.0, 8.0)
    answers_per_worker: tuple[float, float] = (50.0, 500.0)
    options: int | None = None
    preset: str = MIXED

    def __post_init__(self) -> None:
        problems = []
        if not 1 <= self.projects <= self.annotations:
            problems.append(
                f"projects: expected 1 to the number of annotations ({self.annotations}), "
                f"got {self.projects}"
            )
        elif self.largest_share is not None:
            least = 1 / self.projects
            # A share of 1 needs a single project: the others have annotations, too.
            if not least <= self.largest_share < 1 and self.projects > 1:
                problems.append(
                    f"largest_share: expected {least:.6g} (equal sizes) to below 1, "
                    f"got {self.largest_share}"
                )
        for name in ("answers_per_task", "answers_per_worker"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                problems.append(f"{name}: expected 1 <= low <= high, got {low} and {high}")
        if self.options is not None and not 2 <= self.options <= 26:
            problems.append(f"options: expected 2 to 26, got {self.options}")
        if self.preset not in (MIXED, *PRESETS):
            known = ", ".join((MIXED, *PRESETS))
            problems.append(f"preset: expected one of {known}, got {self.preset!r}")
        if problems:
            raise ConfigError(problems, where="lake")


@dataclass(frozen=True)
class Lake:
    """Everything that a lake's rows are a function of.

    Shares, in [0, 1): bad_rows of unusable rows and repeated_rows of answers given again, both
    against the annotations and beside them; gold of the tasks with a known truth.
    """

    plans: tuple[CrowdPlan, ...]
    seed: int
    bad_rows: float = 0.0125
    repeated_rows: float = 0.02
    gold: float = 0.1

    def __post_init__(self) -> None:
        problems = [
            f"{name}: expected a share in [0, 1), got {getattr(self, name)}"
            for name in ("bad_rows", "repeated_rows", "gold")
            if not 0 <= getattr(self, name) < 1
        ]
        if self.seed < 0:
            problems.append(f"seed: expected a number >= 0, got {self.seed}")
        if problems:
            raise ConfigError(problems, where="lake")

    @property
    def num_annotations(self) -> int:
        """Distinct answers of all crowds."""
        return sum(plan.annotations for plan in self.plans)

    @property
    def num_projects(self) -> int:
        """Number of different projects."""
        return len({plan.project for plan in self.plans})

    def pieces(self) -> list[LakePiece]:
        """All pieces, in random order: any run of them is about as large as any other."""
        found = [piece for plan in self.plans for piece in _pieces(plan)]
        order = self.stream(_ORDER).permutation(len(found))
        return [found[place] for place in order]

    def stream(self, *key: int) -> np.random.Generator:
        """Random numbers for one purpose; equal keys give equal numbers."""
        return np.random.default_rng([self.seed, *key])


def draw_plans(sizes: LakeSizes, *, seed: int) -> tuple[CrowdPlan, ...]:
    """Draw the projects of a lake, the largest first."""
    rng = np.random.default_rng([abs(seed), _PLANS])  # the lake refuses a negative one
    presets = list(PRESETS) if sizes.preset == MIXED else [sizes.preset]
    return tuple(
        _plan(rng, sizes, number, int(annotations), presets)
        for number, annotations in enumerate(_power_law(sizes))
    )


def _plan(
    rng: np.random.Generator,
    sizes: LakeSizes,
    number: int,
    annotations: int,
    presets: Sequence[str],
) -> CrowdPlan:
    mean = rng.uniform(*sizes.answers_per_task)
    load = log_uniform(rng, sizes.answers_per_worker)
    options = _OPTION_SETS[int(rng.integers(len(_OPTION_SETS)))]
    if sizes.options is not None:
        options = tuple("abcdefghijklmnopqrstuvwxyz"[: sizes.options])
    tasks = max(1, round(annotations / mean))
    # Three workers for each answer of a task leave a choice, also where votes are uneven.
    fewest = int(np.ceil(3 * annotations / tasks))
    return CrowdPlan(
        number=number,
        project=f"project-{number:06d}",
        options=options,
        annotations=annotations,
        tasks=tasks,
        workers=max(fewest, min(round(annotations / load), _MOST_WORKERS)),
        preset=presets[int(rng.integers(len(presets)))],
    )


def _power_law(sizes: LakeSizes) -> npt.NDArray[np.int64]:
    """Annotations of each project, descending, at least 1 each."""
    rank = np.arange(1, sizes.projects + 1, dtype=float)
    share = sizes.largest_share if sizes.projects > 1 else 1.0
    power = 1.0 if share is None else _power(rank, share)
    weight = rank**-power
    free = sizes.annotations - sizes.projects
    number: npt.NDArray[np.int64] = 1 + np.floor(free * weight / weight.sum()).astype(np.int64)
    number[0] += sizes.annotations - number.sum()
    return number


def _power(rank: npt.NDArray[Any], share: float) -> float:
    """Find the power at which the first of the ranks has this share, by bisection."""
    low, high = 0.0, 64.0
    for _ in range(60):
        middle = (low + high) / 2
        if 1 / (rank**-middle).sum() < share:
            low = middle
        else:
            high = middle
    return high


def _pieces(plan: CrowdPlan) -> list[LakePiece]:
    number = min(-(-plan.annotations // _PIECE), plan.tasks)
    task = [plan.tasks * place // number for place in range(number + 1)]
    # In proportion to the tasks, so that every task of a piece can have an answer.
    answer = [plan.annotations * first // plan.tasks for first in task]
    return [
        LakePiece(
            plan=plan,
            number=place,
            first_task=task[place],
            tasks=task[place + 1] - task[place],
            annotations=answer[place + 1] - answer[place],
        )
        for place in range(number)
    ]
