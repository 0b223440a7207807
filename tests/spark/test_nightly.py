"""The whole job on a small lake: what lands, what a second run changes, what failures leave."""

from __future__ import annotations

import json
import shlex
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pyspark.sql import SparkSession

from crowdfm_core import CrowdFM
from crowdfm_core.config import JobConfig, load_config
from crowdfm_core.errors import ConfigError, InputError, RunError, WeightsError
from crowdfm_core.weights import shipped_weights_path
from jobs import nightly, sql_command
from jobs.run import run_nightly
from jobs.schemas import GOLD_TABLES, QUALITY_TABLES
from jobs.tables import Tables
from tests.spark.delta_tables import table

ROWS = """project,task,worker,label,at
cats,t1,a,yes,2026-01-01T00:00:00Z
cats,t1,b,yes,2026-01-01T00:00:00Z
cats,t1,c,no,2026-01-01T00:00:00Z
cats,t1,c,yes,2026-01-02T00:00:00Z
cats,t2,a,no,
cats,t2,b,no,
cats,"t'`2
x",a,yes,
dogs,t1,a,7,
dogs,t1,b,8,
lonely,t,w,o,
cats,t3,,yes,
cats, ,a,,
cats,t3,a,yes,soon
cats,t3,a,yes,,too,many
"""
TABLE_NAMES = ("aggregated_labels", "annotations", "components", "worker_scores")


def write_rows(folder: Path, rows: str) -> None:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "rows.csv").write_text(rows)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Rows that no run has read."""
    write_rows(tmp_path, ROWS)
    return tmp_path


@pytest.fixture(scope="module")
def first_night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A lake with the tables of run "one", for reading, and what the command printed."""
    folder = tmp_path_factory.mktemp("first_night")
    write_rows(folder, ROWS)
    printed = StringIO()
    with redirect_stdout(printed):
        assert nightly.main(["--conf", str(write_conf(folder)), "--run-id", "one"]) == 0
    return folder, printed.getvalue()


@pytest.fixture
def labelled(lake: Path, first_night: tuple[Path, str]) -> Path:
    """The rows and the tables of run "one", for further runs."""
    shutil.copytree(first_night[0] / "out", lake / "out")
    return lake


def write_conf(lake: Path, **changes: Any) -> Path:
    settings = {
        "input": {
            "path": str(lake / "in"),
            "format": "csv",
            "columns": {"project_id": "project", "annotated_at": "at"},
        },
        "output": {"path": str(lake / "out")},
        "quality": False,  # has runs of its own
        "model": {"num_draws": 1},
        "spark": {"master": "local[2]"},
        **changes,
    }
    path = lake / "job.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def config(lake: Path, **changes: Any) -> JobConfig:
    return load_config(write_conf(lake, **changes))


def snapshot(spark: SparkSession, lake: Path) -> dict[str, list[Any]]:
    return {name: sorted(map(str, table(spark, lake, name).collect())) for name in TABLE_NAMES}


def test_run_writes_every_table_and_a_second_run_changes_nothing(
    spark: SparkSession, labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake, first = labelled, snapshot(spark, labelled)
    caplog.set_level("INFO", logger="jobs")
    summary = run_nightly(config(lake), run_id="two")
    assert snapshot(spark, lake) == first  # run_id and updated_at too
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if not line.startswith("run two: ")] == []
    begun = [line for line in lines if line.endswith(" ...")]
    assert [f"run two: {phase} ..." for phase in summary.phase_seconds] == begun
    changed = "which changed since run one"
    assert f"run two: 0 projects are computed, {changed}" in lines
    assert lines[-1] == "run two: SUCCEEDED"

    assert (summary.rows_read, summary.rows_rejected, summary.rows_superseded) == (14, 4, 1)
    assert summary.rejected == {
        "missing_worker_id": 1,
        "missing_task_id": 1,
        "missing_label": 1,
        "invalid_annotated_at": 1,
        "malformed_row": 1,
    }
    assert (summary.projects, summary.tasks, summary.workers) == (3, 5, 6)
    # Two workers who are known by one answer each: the model is as undecided as the vote.
    assert summary.ties == {"crowdfm": 1, "majority_vote": 1}

    labels = table(spark, lake, "aggregated_labels").toPandas()
    assert len(labels) == 10
    votes = labels[labels["method"] == "majority_vote"].set_index(["project_id", "task_id"])
    assert votes["label"].to_dict() == {
        ("cats", "t1"): "yes",
        ("cats", "t2"): "no",
        ("cats", "t'`2\nx"): "yes",
        ("dogs", "t1"): "7",
        ("lonely", "t"): "o",
    }
    annotations = table(spark, lake, "annotations").toPandas()
    cats = annotations[annotations["project_id"] == "cats"]
    core = CrowdFM(num_draws=1, project_id="cats")
    core.fit_predict(cats.rename(columns={"task_id": "task", "worker_id": "worker"}))
    mine = labels[(labels["method"] == "crowdfm") & (labels["project_id"] == "cats")]
    assert dict(zip(mine["task_id"], mine["label"], strict=True)) == core.labels_.to_dict()
    rejected = table(spark, lake, "rejected_annotations").toPandas()
    assert "cats,t3,a,yes,,too,many" in set(rejected["raw_record"])
    assert rejected["source_file"].str.endswith("rows.csv").all()

    runs = {row["run_id"]: row for row in table(spark, lake, "runs").collect()}
    assert {row["status"] for row in runs.values()} == {"SUCCEEDED"}
    version = runs["one"]["output_versions"]["aggregated_labels"]
    path = str(lake / "out" / "aggregated_labels")
    old = spark.read.format("delta").option("versionAsOf", version).load(path)
    assert old.count() == 10


def test_run_without_quality_gold_and_assignments_makes_none_of_their_tables(
    spark: SparkSession, first_night: tuple[Path, str]
) -> None:
    lake = first_night[0]
    left_out = {table.name for table in (*GOLD_TABLES, *QUALITY_TABLES)} | {"assignments"}
    run = table(spark, lake, "runs").first()
    assert not left_out & set(run["output_versions"])
    assert not left_out & {path.name for path in (lake / "out").iterdir()}
    assert "gold_labels" not in run["counts"]
    scores = table(spark, lake, "worker_scores").select("spam_score").distinct().collect()
    assert [tuple(row) for row in scores] == [(None,)]


def test_dry_run_counts_and_writes_nothing(
    spark: SparkSession, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nightly.main(["--conf", str(write_conf(lake)), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "would label 5 tasks of 3 projects (dry run, nothing was written)" in printed
    assert "         14  rows of" in printed
    assert "          4  rejected (28.6 %)" in printed
    assert not (lake / "out").exists()


def test_input_of_no_rows_succeeds_with_zero_counts(spark: SparkSession, lake: Path) -> None:
    (lake / "in" / "rows.csv").write_text("project,task,worker,label,at\n")
    summary = run_nightly(config(lake))
    assert (summary.rows_read, summary.tasks) == (0, 0)
    assert table(spark, lake, "aggregated_labels").isEmpty()


def test_what_cannot_be_used_is_refused_before_anything_is_written(
    spark: SparkSession, lake: Path
) -> None:
    columns = {"project_id": "project", "task_id": "taks"}
    source = {"path": str(lake / "in"), "format": "csv", "columns": columns}
    with pytest.raises(InputError, match="no column 'taks'; did you mean 'task'"):
        run_nightly(config(lake, input=source))
    broken = lake / "weights"
    shutil.copytree(shipped_weights_path(), broken)
    file = broken / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="sha256"):
        run_nightly(config(lake, model={"weights": str(broken)}))
    with pytest.raises(ConfigError, match="did you mean 'model'"):
        config(lake, modle={})
    assert not (lake / "out").exists()


def test_failure_while_writing_keeps_the_published_snapshot(
    spark: SparkSession, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, before = labelled, snapshot(spark, labelled)
    replace_rows = Tables.replace_rows

    def failing(self: Tables, name: str, *rows: Any) -> None:
        if name == "worker_scores":
            raise OSError("No space left on device")
        replace_rows(self, name, *rows)

    write_rows(lake, ROWS.replace("dogs,t1,b,8", "dogs,t1,b,7"))
    with monkeypatch.context() as patch:
        patch.setattr(Tables, "replace_rows", failing)
        with pytest.raises(OSError, match="No space left"):
            run_nightly(config(lake), run_id="two")
    runs = {row["run_id"]: row for row in table(spark, lake, "runs").collect()}
    assert runs["two"]["status"] == "FAILED"
    assert "No space left" in runs["two"]["error"]
    for name in TABLE_NAMES:
        version = runs["one"]["output_versions"][name]
        path = str(lake / "out" / name)
        rows = spark.read.format("delta").option("versionAsOf", version).load(path).collect()
        assert sorted(map(str, rows)) == before[name]
    # The answer that changed is all that is written, and its project all that is computed.
    assert table(spark, lake, "annotations").where("run_id = 'two'").count() == 1
    assert run_nightly(config(lake), run_id="three").projects_changed == 1
    labels = table(spark, lake, "aggregated_labels").collect()
    assert {row["label"] for row in labels if row["project_id"] == "dogs"} == {"7"}
    assert {row["project_id"] for row in labels if row["run_id"] != "one"} == {"dogs"}


def test_input_that_changes_while_it_is_read_fails_the_run_and_a_rerun_repairs(
    spark: SparkSession, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, replace_rows = labelled, Tables.replace_rows

    def while_another_file_arrives(self: Tables, name: str, *rows: Any) -> None:
        (lake / "in" / "more.csv").write_text("project,task,worker,label,at\ncats,t9,a,yes,\n")
        replace_rows(self, name, *rows)

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "replace_rows", while_another_file_arrives)
        with pytest.raises(RunError, match=r"files changed while .*\(1 before, 2 after\)"):
            run_nightly(config(lake), run_id="two")
    statuses = {row["run_id"]: row["status"] for row in table(spark, lake, "runs").collect()}
    assert statuses == {"one": "SUCCEEDED", "two": "FAILED"}
    assert run_nightly(config(lake), run_id="three").tasks == 6


def test_failure_is_reported_even_where_its_row_cannot_be_written(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def disk_full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Tables, "replace_rows", disk_full)
    monkeypatch.setattr(Tables, "record_run", disk_full)
    with pytest.raises(OSError, match="No space left"):
        run_nightly(config(labelled), run_id="two")
    assert "run two: FAILED: No space left on device" in caplog.text
    assert "run two: no row in runs: No space left on device" in caplog.text


def test_failure_within_spark_is_one_line_and_exit_code_1(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame({"task": [f"t{n}" for n in range(9_000)], "worker": "w", "label": "a"})
    (lake / "in" / "rows.csv").unlink()
    file = lake / "in" / "rows.parquet"
    frame.to_parquet(file)
    data = bytearray(file.read_bytes())
    data[1_000:3_000] = b"\xff" * 2_000  # a page, not the footer
    file.write_bytes(data)
    source = {"path": str(lake / "in"), "format": "parquet"}
    assert nightly.main(["--conf", str(write_conf(lake, input=source))]) == 1
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("crowdfm nightly: Spark failed: ")
    assert "rows.parquet" in shown
    assert shown.endswith("(--set logging.level=DEBUG shows where)")


def test_summary_shows_counts_and_a_query_that_runs(
    first_night: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = first_night[1]
    for line in (
        "CrowdFM labelled 5 tasks of 3 projects",
        "         14  rows of ",
        "          4  rejected (28.6 %)",
        "          5  majority_vote: 4 with probability >= 0.9 (80.0 %), 1 ties",
        "          3  components, the largest with 6 annotations",
    ):
        assert line in shown
    command = shlex.split(shown[shown.index("crowdfm sql ") :])
    assert command[:2] == ["crowdfm", "sql"]
    assert sql_command.main(command[2:]) == 0
    printed = capsys.readouterr().out
    assert "runner_up_label" in printed
    assert printed.count("|cats") == 3


def test_query_that_fails_is_one_message(spark: SparkSession) -> None:
    with pytest.raises(InputError, match=r"the query failed: .*nowhere"):
        sql_command.main(["SELECT * FROM nowhere"])


def test_command_line_prints_one_message_or_the_summary(
    spark: SparkSession, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_conf(lake))
    assert nightly.main(["--conf", path, "--set", "input.path=/none/here"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("crowdfm nightly: input /none/here: cannot be read")
    assert nightly.main(["--conf", path, "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["scoring"]["device"] == "auto"
    assert nightly.main(["--conf", path, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["tasks"] == 5
