"""Every shipped configuration, the GPU discovery script and the Airflow DAG."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import yaml

from crowdfm_core.config import load_config
from jobs import nightly

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
_SPARK = ".".join(version("pyspark").split(".")[:2])
DELTA = f"io.delta:delta-spark_{_SPARK}_2.13:{version('delta-spark')}"  # of the installed versions
FILES = sorted(path.name for path in CONF.glob("*.yaml"))


def discover(tmp_path: Path, nvidia_smi: str | None) -> subprocess.CompletedProcess[str]:
    """Run gpu_discovery.sh with a fake nvidia-smi, or without any."""
    if nvidia_smi is not None:
        fake = tmp_path / "nvidia-smi"
        fake.write_text(f"#!/bin/sh\n{nvidia_smi}\n")
        fake.chmod(0o755)
    for tool in ("bash", "sed", "paste", "uname"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True)
        (tmp_path / tool).symlink_to(found.stdout.strip())
    return subprocess.run(
        ["bash", str(CONF / "gpu_discovery.sh")],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", FILES)
def test_config_file_loads(name: str) -> None:
    load_config(CONF / name)


def test_config_files_cover_every_kind_of_cluster() -> None:
    kinds = {"databricks", "kubernetes", "local", "standalone", "yarn"}
    assert kinds <= {Path(name).stem for name in FILES}


def test_gpu_discovery_with_two_gpus_lists_both_addresses(tmp_path: Path) -> None:
    done = discover(tmp_path, "printf '0\\n1\\n'")
    assert json.loads(done.stdout) == {"name": "gpu", "addresses": ["0", "1"]}


@pytest.mark.parametrize(
    ("nvidia_smi", "message"),
    [
        (None, "nvidia-smi is not on PATH"),
        ("echo 'no devices were found'; exit 6", "nvidia-smi failed on .*no devices were found"),
        ("echo 'No devices were found'", "lists no GPU"),
    ],
)
def test_gpu_discovery_without_gpu_says_why_and_fails(
    tmp_path: Path, nvidia_smi: str | None, message: str
) -> None:
    done = discover(tmp_path, nvidia_smi)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(message, done.stderr)


def test_airflow_dag_submits_a_job_and_arguments_that_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, sdk = MagicMock(), MagicMock()
    spark = "airflow.providers.apache.spark.operators.spark_submit"
    monkeypatch.setitem(sys.modules, "airflow", MagicMock())
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    monkeypatch.setitem(sys.modules, spark, SimpleNamespace(SparkSubmitOperator=operator))
    monkeypatch.setenv("CROWDFM_HOME", str(ROOT))
    exec(compile((CONF / "airflow_dag.py").read_text(), "airflow_dag.py", "exec"), {})
    assert sdk.DAG.call_args.kwargs["max_active_runs"] == 1
    (submit,) = (call.kwargs for call in operator.call_args_list)
    assert Path(submit["application"]).is_file()
    assert submit["packages"] == DELTA
    assert nightly.main([*submit["application_args"], "--print-config"]) == 0
    assert "output" in yaml.safe_load(capsys.readouterr().out)


def test_delta_is_named_alike_wherever_spark_submit_needs_it() -> None:
    files = [ROOT / "README.md", CONF / "airflow_dag.py", CONF / "yarn.yaml"]
    found = {path.name: re.findall(r"io\.delta:[\w.:-]+", path.read_text()) for path in files}
    assert {name: set(names) for name, names in found.items()} == {
        path.name: {DELTA} for path in files
    }


def test_airflow_dag_loads_where_airflow_is_installed() -> None:
    pytest.importorskip("airflow", reason="Airflow is not among the test packages")
    code = compile((CONF / "airflow_dag.py").read_text(), "airflow_dag.py", "exec")
    namespace: dict[str, object] = {}
    exec(code, namespace)
    assert "dag" in namespace
