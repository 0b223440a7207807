"""Every shipped configuration, the GPU discovery script and the Airflow DAG."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from crowdfm_core.config import load_config

CONF = Path(__file__).resolve().parents[2] / "conf"
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


def test_airflow_dag_names_files_and_flags_that_exist() -> None:
    tree = ast.parse((CONF / "airflow_dag.py").read_text())
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert "--conf" in strings


def test_airflow_dag_loads_where_airflow_is_installed() -> None:
    pytest.importorskip("airflow", reason="Airflow is not among the test packages")
    code = compile((CONF / "airflow_dag.py").read_text(), "airflow_dag.py", "exec")
    namespace: dict[str, object] = {}
    exec(code, namespace)
    assert "dag" in namespace
