"""The demo lake: a crowdsourcing history as a company would have it, with known truth.

30 projects of very different size, with string ids, timestamps, corrected and repeated answers,
and one or two percent of rows that no job should accept: a small lake of `crowdfm simulate lake`
whose projects have names.
"""

from __future__ import annotations

from dataclasses import dataclass

from crowdfm_core.simulation.lake import CrowdPlan, Lake
from crowdfm_core.simulation.lake_answers import PRESETS

__all__ = ["demo_lake"]

_YES_NO = ("no", "yes")
_SENTIMENT = ("negative", "neutral", "positive")
_GRADES = ("bad", "excellent", "fair", "good", "perfect")
_BIRDS = ("blackbird", "blue tit", "chaffinch", "great tit", "magpie", "robin", "wren")
_PARTS = ("bolt", "cable", "casing", "connector", "fan", "hinge", "lens", "screw", "tape")


@dataclass(frozen=True)
class _Project:
    """One project: `teams` crowds that share no worker and no task make as many components."""

    name: str
    options: tuple[str, ...]
    num_tasks: int  # per team
    num_workers: int  # per team
    answers_per_task: int
    teams: int = 1


_PROJECTS = (
    _Project("search-relevance", _GRADES, 9_000, 260, 5),
    _Project("image-moderation", ("adult", "safe", "violent"), 6_000, 180, 4),
    _Project("review-sentiment", _SENTIMENT, 3_500, 120, 4, teams=2),
    _Project("bird-species", _BIRDS, 1_200, 90, 6),
    _Project("spare-parts", _PARTS, 900, 40, 5),
    _Project("spam-mail", ("ham", "spam"), 1_500, 60, 3),
    _Project("duplicate-listings", _YES_NO, 700, 50, 5),
    _Project("toxic-comments", ("clean", "insult", "threat"), 600, 45, 6),
    _Project("medical-triage", ("emergency", "routine", "urgent"), 400, 18, 7),
    _Project("street-signs", ("none", "speed limit", "stop", "yield"), 350, 30, 5),
    _Project("voice-commands", ("call", "music", "navigate", "other"), 300, 30, 4, teams=3),
    _Project("address-match", _YES_NO, 300, 24, 3),
    _Project("product-category", _PARTS, 260, 22, 5),
    _Project("invoice-fields", ("complete", "incomplete"), 250, 16, 3),
    _Project("news-topics", ("culture", "economy", "politics", "sports"), 220, 25, 5),
    _Project("satellite-roofs", ("flat", "gable", "hip"), 200, 14, 5),
    _Project("chat-intent", ("complaint", "praise", "question"), 180, 20, 4),
    _Project("plant-disease", ("blight", "healthy", "rust"), 150, 12, 7),
    _Project("accent-region", ("east", "north", "south", "west"), 120, 15, 5),
    _Project("face-emotion", ("angry", "happy", "neutral", "sad"), 110, 12, 9),
    _Project("fake-reviews", _YES_NO, 100, 20, 5),
    _Project("logo-visible", _YES_NO, 90, 10, 3),
    _Project("handwriting-digit", tuple("0123456789"), 80, 10, 5),
    _Project("legal-clauses", ("allowed", "forbidden", "required"), 60, 6, 5),
    _Project("défauts-de-peinture", ("coulure", "rayure", "éclat"), 50, 8, 4),
    _Project("猫の種類", ("三毛", "茶トラ", "黒"), 40, 8, 5),
    _Project("pilot-a", _YES_NO, 12, 4, 3),
    _Project("pilot-b", _SENTIMENT, 6, 3, 2),
    _Project("one-worker", _YES_NO, 15, 1, 1),
    _Project("one-answer", _YES_NO, 1, 1, 1),
)


def demo_lake(seed: int) -> Lake:
    """Return the demo lake; equal seeds give equal lakes. The simulators take turns."""
    crowds = [(project, team) for project in _PROJECTS for team in range(project.teams)]
    presets = list(PRESETS)
    plans = tuple(
        CrowdPlan(
            number=number,
            project=project.name,
            options=project.options,
            annotations=project.num_tasks * project.answers_per_task,
            tasks=project.num_tasks,
            workers=project.num_workers,
            preset=presets[number % len(presets)],
            team=str(team) if project.teams > 1 else "",
        )
        for number, (project, team) in enumerate(crowds)
    )
    return Lake(plans, seed)
