"""The demo lake: a crowdsourcing history as a company would have it, with known truth.

About 30 projects of very different size, with string ids, timestamps, corrected and repeated
answers, and one or two percent of rows that no job should accept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crowdfm_core.config import SparkConfig
from crowdfm_core.errors import InputError
from crowdfm_core.simulation import (
    CrowdSizes,
    SimulatedCrowd,
    ThreeParameterLogisticCrowds,
)
from jobs.session import make_session
from jobs.tables import write_new_table

__all__ = ["DemoLake", "demo_lake", "write_demo_lake"]

_YES_NO = ("no", "yes")
_SENTIMENT = ("negative", "neutral", "positive")
_GRADES = ("bad", "excellent", "fair", "good", "perfect")
_BIRDS = ("blackbird", "blue tit", "chaffinch", "great tit", "magpie", "robin", "wren")
_PARTS = ("bolt", "cable", "casing", "connector", "fan", "hinge", "lens", "screw", "tape")
_FIRST_ANSWER = np.datetime64("2025-01-06T07:00:00", "s")
_SECONDS_OF_HISTORY = 300 * 86_400


@dataclass(frozen=True)
class _Project:
    """One project: `teams` crowds that share no worker and no task make as many components."""

    name: str
    options: tuple[str, ...]
    num_tasks: int  # per team
    num_workers: int  # per team
    answers_per_task: float
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


@dataclass(frozen=True)
class DemoLake:
    """The two input tables, every column as text, and how many bad rows are among them.

    annotations: project, task, worker, label, answered_at; in no particular order.
    gold_labels: project, task, true_label; of about one task in ten.
    """

    annotations: pd.DataFrame
    gold_labels: pd.DataFrame
    num_bad_rows: int


def demo_lake(seed: int) -> DemoLake:
    """Draw the demo lake; equal seeds give equal lakes, down to the order of rows."""
    rng = np.random.default_rng(seed)
    drawn = [
        _team_frames(rng, project, team) for project in _PROJECTS for team in range(project.teams)
    ]
    answers = pd.concat([annotations for annotations, _ in drawn], ignore_index=True)
    answers = pd.concat([answers, _repeated(rng, answers)], ignore_index=True)
    bad = _bad_rows(rng, answers)
    annotations = pd.concat([_as_text(answers), bad], ignore_index=True)
    shuffled = annotations.iloc[rng.permutation(len(annotations))].reset_index(drop=True)
    gold = pd.concat([truth for _, truth in drawn], ignore_index=True)
    return DemoLake(shuffled, gold[rng.random(len(gold)) < 0.1].reset_index(drop=True), len(bad))


def _team_frames(
    rng: np.random.Generator, project: _Project, team: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Annotations and truth of one team; `answered_at` is a datetime here."""
    crowd = _crowd(rng, project)
    options = np.array(project.options, dtype=object)
    place = f"{project.name}-{team}" if project.teams > 1 else project.name
    task_ids = np.array([f"{place}-{number:05d}" for number in range(crowd.num_tasks)], object)
    worker_ids = np.array([f"w{team}{number:04d}" for number in range(crowd.num_workers)], object)
    seconds = rng.integers(0, _SECONDS_OF_HISTORY, crowd.num_annotations)
    annotations = pd.DataFrame(
        {
            "project": project.name,
            "task": task_ids[crowd.task_index],
            "worker": worker_ids[crowd.worker_index],
            "label": options[crowd.option_index],
            "answered_at": _FIRST_ANSWER + seconds.astype("timedelta64[s]"),
        }
    )
    truth = pd.DataFrame(
        {"project": project.name, "task": task_ids, "true_label": options[crowd.true_option]}
    )
    return annotations, truth


def _crowd(rng: np.random.Generator, project: _Project) -> SimulatedCrowd:
    sizes = CrowdSizes(
        workers=(project.num_workers, project.num_workers),
        tasks=(project.num_tasks, project.num_tasks),
        options=(len(project.options), len(project.options)),
        mean_answers_per_task=(project.answers_per_task, project.answers_per_task),
    )
    # Paid crowds mostly know what they do: the published ranges reach down to random answers.
    return ThreeParameterLogisticCrowds(
        sizes=sizes, ability_mean=(0.2, 1.2), difficulty_mean=(-1.0, 0.2)
    ).sample(rng)


def _repeated(rng: np.random.Generator, answers: pd.DataFrame) -> pd.DataFrame:
    """Two percent of the answers given again later, half of them changed to another's answer."""
    again = answers.iloc[rng.choice(len(answers), len(answers) // 50, replace=False)].copy()
    again["answered_at"] += pd.to_timedelta(rng.integers(30, 86_400, len(again)), unit="s")
    changed = rng.random(len(again)) < 0.5
    # Labels are permuted within the project, so that no option becomes one of another project.
    mixed = again.groupby("project")["label"].transform(
        lambda labels: labels.to_numpy()[rng.permutation(len(labels))]
    )
    again["label"] = again["label"].where(~changed, mixed)
    return again


def _bad_rows(rng: np.random.Generator, answers: pd.DataFrame) -> pd.DataFrame:
    """Rows that must be rejected, a quarter of a percent of each kind."""
    of_each = len(answers) // 400

    def damaged(column: str, value: str | None) -> pd.DataFrame:
        rows = _as_text(answers.iloc[rng.choice(len(answers), of_each, replace=False)])
        rows[column] = value
        return rows

    return pd.concat(
        [
            damaged("worker", None),
            damaged("task", "   "),
            damaged("label", None),
            damaged("label", ""),
            damaged("answered_at", "yesterday, after lunch"),
        ],
        ignore_index=True,
    )


def _as_text(answers: pd.DataFrame) -> pd.DataFrame:
    return answers.assign(answered_at=answers["answered_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def write_demo_lake(out: Path, *, seed: int, overwrite: bool) -> str:
    """Write the Delta tables `annotations` and `gold_labels` under `out`; returns what was written.

    Raises InputError when `out` holds a lake already and `overwrite` is false.
    """
    paths = {name: out / name for name in ("annotations", "gold_labels")}
    there = [str(path) for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise InputError(f"{' and '.join(there)}: there already; give --overwrite to replace")
    lake = demo_lake(seed=seed)
    spark = make_session(SparkConfig(master="local[*]", app_name="crowdfm-demo-lake"))
    frames = {"annotations": lake.annotations, "gold_labels": lake.gold_labels}
    for name, frame in frames.items():
        text = frame.astype(object).where(frame.notna(), None)
        schema = ", ".join(f"`{column}` string" for column in text.columns)
        write_new_table(spark.createDataFrame(text, schema), str(paths[name]))
    projects = lake.gold_labels["project"].nunique()
    return f"{out}: {len(lake.annotations):,} annotations of {projects} projects, with known truth"
