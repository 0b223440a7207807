"""Which projects have changed since a run, and when that cannot be told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crowdfm_core.config import (
    ColumnMapping,
    InputConfig,
    JobConfig,
    OutputConfig,
    SparkConfig,
)
from crowdfm_core.errors import RunError
from jobs.changes import Changes, EarlierRun
from jobs.inputs import input_table_id, input_version
from jobs.run_row import run_row
from jobs.schemas import TABLES
from jobs.summary import RunSummary
from jobs.tables import Tables
from tests.spark.delta_tables import create_input, insert, tables_of

TOKYO = {"spark.sql.session.timeZone": "Asia/Tokyo"}
COMPONENTS, QUALITY = "components", "method_quality"
NAMES = (COMPONENTS, QUALITY)
HASHES = {"weights_sha256": "w", "code_sha256": "c"}


def components(spark: SparkSession, **tasks: int) -> DataFrame:
    """One component per project, with so many tasks."""
    rows = [(project, "c", number, 2, 9, 2) for project, number in tasks.items()]
    return spark.createDataFrame(rows, TABLES[COMPONENTS].schema)


def quality(spark: SparkSession, run_id: str, *projects: str) -> DataFrame:
    spec = TABLES[QUALITY]
    counts = {column.name: 1 for column in spec.columns if column.type == "bigint"}
    of_run = {"method": "glad", "reference_method": "glad", "run_id": run_id}
    values = {**counts, **of_run, "updated_at": datetime(2026, 1, 1)}
    rows = [
        [{**values, "project_id": project}.get(name) for name in spec.column_names]
        for project in projects
    ]
    return spark.createDataFrame(rows, spec.schema)


def job(**settings: Any) -> JobConfig:
    return JobConfig(
        **{"input": InputConfig(path="in"), "output": OutputConfig(path="x"), **settings}
    )


def publish(
    spark: SparkSession,
    tables: Tables,
    config: JobConfig,
    *,
    input_table_id: str | None = None,
    error: str | None = None,
) -> None:
    summary = RunSummary(tables.run_id, dry_run=False, input="in", versions=tables.versions)
    began = datetime.now(UTC)
    summary.input_version = input_version(spark, config.input)
    row = run_row(
        spark,
        summary,
        config,
        started_at=began,
        **HASHES,
        input_table_id=input_table_id,
        error=error,
    )
    tables.record_run(row)


@pytest.fixture(scope="module")
def first_run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of the run "one", which found the projects p, q and r, for reading."""
    folder = tmp_path_factory.mktemp("first_run")
    tables = tables_of(spark, folder, "one")
    tables.create([*NAMES, "runs"])
    with tables.marked_commits():
        tables.replace_rows(COMPONENTS, components(spark, p=1, q=1, r=1))
        tables.replace_rows(QUALITY, quality(spark, "one", "p", "q", "r"))
        publish(spark, tables, job())
    return folder


@pytest.fixture
def published(first_run: Path, tmp_path: Path) -> Path:
    """The tables of the run "one", for further runs."""
    shutil.copytree(first_run, tmp_path / "out")
    return tmp_path / "out"


def found(
    tables: Tables,
    config: JobConfig | None = None,
    names: tuple[str, ...] = NAMES,
    hashes: dict[str, str] = HASHES,
    said: list[str] | None = None,
) -> Changes:
    """Changes since the run "one"; `said` takes the lines of the log."""
    lines = [] if said is None else said
    return EarlierRun(tables, names, config or job(), hashes, lines.append).changes()


def why_all(tables: Tables, **of_run: Any) -> str:
    """Why all projects are computed."""
    said: list[str] = []
    assert found(tables, said=said, **of_run).projects is None
    return said[-1].removeprefix("all projects are computed: ")


def projects_of(changes: Changes) -> list[str]:
    assert changes.projects is not None, changes.reason
    assert changes.num_projects == changes.projects.count()
    return sorted(row["project_id"] for row in changes.projects.collect())


def test_projects_changed_by_a_run_that_failed_or_by_hand_are_found(
    spark: SparkSession, published: Path
) -> None:
    memory = SparkConfig(conf={"spark.driver.memory": "4g"})  # makes no other results
    assert projects_of(found(tables_of(spark, published, "two"), job(spark=memory))) == []
    failed = tables_of(spark, published, "two")
    with failed.marked_commits():
        failed.replace_rows(COMPONENTS, components(spark, p=1, q=2, r=1, new=1))
        failed.replace_rows(COMPONENTS, components(spark, p=1, q=1, r=1))  # all as it was
        failed.replace_rows(QUALITY, quality(spark, "two", "p"))  # a history: not of run one
    spark.sql(f"OPTIMIZE {failed.name(COMPONENTS)}")  # changes no row
    spark.sql(f"DELETE FROM {failed.name(QUALITY)} WHERE project_id = 'r' AND run_id = 'one'")
    changes = found(tables_of(spark, published, "three"))
    assert changes.kept_run_id == "one"
    assert projects_of(changes) == ["new", "q", "r"]


def test_rows_of_other_projects_are_left_alone(spark: SparkSession, published: Path) -> None:
    tables = tables_of(spark, published, "two")
    spark.sql(f"DELETE FROM {tables.name(COMPONENTS)} WHERE project_id = 'p'")
    spark.sql(f"UPDATE {tables.name(COMPONENTS)} SET num_tasks = 5 WHERE project_id = 'q'")
    changes = found(tables)
    with tables.marked_commits():
        rows = components(spark, p=3, new=4)
        tables.replace_rows(COMPONENTS, rows, changes.projects)
    left = {row["project_id"]: row["num_tasks"] for row in tables.read(COMPONENTS).collect()}
    assert left == {"p": 3, "r": 1, "new": 4}  # q is to be computed, and has no rows any more


def test_other_writer_after_changes_were_looked_for_is_noticed(
    spark: SparkSession, published: Path
) -> None:
    tables, other = (tables_of(spark, published, run_id) for run_id in ("two", "other"))
    changes = found(tables)
    spark.sql(f"OPTIMIZE {tables.name(COMPONENTS)}")  # changes no row
    tables.keep_rows([COMPONENTS])
    with other.marked_commits():
        other.replace_rows(COMPONENTS, components(spark, p=7, q=1, r=1))
    with tables.marked_commits(), pytest.raises(RunError, match="other writer"):
        tables.keep_rows([COMPONENTS])
    with tables.marked_commits(), pytest.raises(RunError, match="other writer"):
        tables.replace_rows(COMPONENTS, components(spark), changes.projects)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"methods": ("glad",)}, "run one had other methods"),
        ({"output": OutputConfig(path="x", max_probabilities=3)}, "output.max_probabilities"),
        ({"spark": SparkConfig(conf=TOKYO)}, "run one had other spark.conf"),
        ({"recompute": "all"}, "recompute is all"),
    ],
)
def test_all_projects_are_computed_where_results_may_differ(
    spark: SparkSession, published: Path, settings: dict[str, Any], named: str
) -> None:
    tables = tables_of(spark, published, "two")
    assert named in why_all(tables, config=job(**settings))


def test_all_projects_are_computed_with_other_code_weights_or_tables(
    spark: SparkSession, published: Path
) -> None:
    tables = tables_of(spark, published, "two")
    assert why_all(tables, names=(*NAMES, "method_fits")) == "run one had other tables"
    other = dict.fromkeys(HASHES, "other")
    assert why_all(tables, hashes=other) == "run one had other weights, code or libraries"


def test_newest_published_run_is_the_one_that_counts(spark: SparkSession, published: Path) -> None:
    two, three = (tables_of(spark, published, run_id) for run_id in ("two", "three"))
    with two.marked_commits():
        two.replace_rows(COMPONENTS, components(spark, p=2, q=1, r=1))
    publish(spark, two, job(), error="disk full")
    assert found(tables_of(spark, published, "four")).kept_run_id == "one"
    for tables in (two, three):
        tables.versions |= {name: tables._commits(name).newest().version for name in NAMES}
        publish(spark, tables, job())
    assert found(tables_of(spark, published, "four")).kept_run_id == "three"
    again = found(tables_of(spark, published, "three"))  # a run is not its own predecessor
    assert again.kept_run_id == "two"


def lose_change_files(spark: SparkSession, folder: Path) -> None:
    tables = tables_of(spark, folder, "two")
    spark.sql(f"UPDATE {tables.name(COMPONENTS)} SET num_tasks = 5 WHERE project_id = 'q'")
    shutil.rmtree(folder / COMPONENTS / "_change_data")


def make_anew(spark: SparkSession, folder: Path) -> None:
    shutil.rmtree(folder / COMPONENTS)
    tables_of(spark, folder, "two").create([COMPONENTS])


def make_anew_to_the_same_version(spark: SparkSession, folder: Path) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    runs = tables_of(spark, folder, "two").name("runs")
    spark.sql(f"UPDATE {runs} SET finished_at = timestamp'{before.isoformat()}'")
    make_anew(spark, folder)
    tables = tables_of(spark, folder, "two")
    with tables.marked_commits():
        tables.replace_rows(COMPONENTS, components(spark, p=7))
    assert tables.versions[COMPONENTS] == 1


@pytest.mark.parametrize("damage", [lose_change_files, make_anew, make_anew_to_the_same_version])
def test_all_projects_are_computed_where_the_feed_is_gone(
    spark: SparkSession, published: Path, damage: Callable[[SparkSession, Path], None]
) -> None:
    damage(spark, published)
    reason = why_all(tables_of(spark, published, "two"))
    assert reason.startswith("changes since run one cannot be read (")


def test_first_run_computes_all(spark: SparkSession, tmp_path: Path) -> None:
    tables = tables_of(spark, tmp_path, "one")
    tables.create([*NAMES, "runs"])
    assert why_all(tables) == "no earlier run was published"


@pytest.fixture
def answered(spark: SparkSession, tmp_path: Path) -> Tables:
    """Tables for a second run; the first read `in`, a Delta table with a change data feed."""
    create_input(spark, tmp_path)
    insert(spark, tmp_path, [(project, "t", "w", "a") for project in ("p", "q", "r")])
    tables = tables_of(spark, tmp_path / "out", "one")
    tables.create(["annotations", "runs"])
    with tables.marked_commits():
        rows = spark.createDataFrame([], "project_id string")
        tables.replace_rows("annotations", padded(rows))
    config = reading(tmp_path)
    publish(spark, tables, config, input_table_id=input_table_id(spark, config.input))
    return tables_of(spark, tmp_path / "out", "two")


def padded(rows: DataFrame) -> DataFrame:
    """Rows of `annotations`, of which only some columns are given."""
    columns = TABLES["annotations"].columns
    missing = {c.name: F.lit(None).cast(c.type) for c in columns if c.name not in rows.columns}
    return rows.withColumns(missing)


def reading(folder: Path, **columns: str) -> JobConfig:
    names = ColumnMapping(**{"project_id": "project", **columns})
    return job(input=InputConfig(path=str(folder / "in"), columns=names))


def input_changes(spark: SparkSession, tables: Tables, config: JobConfig) -> Changes:
    earlier = EarlierRun(tables, ["annotations"], config, HASHES, lambda _: None)
    version = input_version(spark, config.input)
    return earlier.input_changes(version, input_table_id(spark, config.input))


def test_projects_of_which_input_or_answers_changed_are_compared(
    spark: SparkSession, answered: Tables, tmp_path: Path
) -> None:
    config = reading(tmp_path)
    assert projects_of(input_changes(spark, answered, config)) == []
    insert(spark, tmp_path, [("q", "u", "w", "a"), ("new", "t", "w", "a"), (None, "t", "w", "a")])
    insert(spark, tmp_path, [("bad", "t", None, "a")])  # is rejected, and changes no project
    spark.sql(f"DELETE FROM delta.`{tmp_path}/in` WHERE project = 'r'")
    spark.sql(
        f"INSERT INTO {answered.name('annotations')} BY NAME SELECT 'by hand' AS project_id, "
        "'t' AS task_id, 'w' AS worker_id, 'a' AS label, now() AS ingested_at, '' AS run_id"
    )
    changes = input_changes(spark, answered, config)
    assert projects_of(changes) == ["by hand", "new", "q", "r"]


def without_feed(spark: SparkSession, folder: Path) -> JobConfig:
    table = f"delta.`{folder}/in`"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES (delta.enableChangeDataFeed = false)")
    insert(spark, folder, [("q", "u", "w", "a")])
    return reading(folder)


def other_columns(spark: SparkSession, folder: Path) -> JobConfig:
    return reading(folder, worker_id="task", task_id="worker")


def made_anew(spark: SparkSession, folder: Path) -> JobConfig:
    shutil.rmtree(folder / "in")
    for task in ("t", "u", "v"):
        insert(spark, folder, [("q", task, "w", "a")])  # so that it has the version that was read
    return reading(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without_feed, "changes since run one cannot be read ("),
        (other_columns, "run one read another input, or otherwise"),
        (made_anew, "the input was made anew since run one"),
    ],
)
def test_all_answers_are_compared_where_the_input_does_not_tell(
    spark: SparkSession,
    answered: Tables,
    tmp_path: Path,
    change: Callable[[SparkSession, Path], JobConfig],
    named: str,
) -> None:
    changes = input_changes(spark, answered, change(spark, tmp_path))
    assert changes.projects is None
    assert changes.reason.startswith(named)
