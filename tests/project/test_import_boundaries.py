"""Spark stays out of the core, torch out of the jobs and out of CPU scoring."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Where torch may be imported inside the core; everything else must work without it.
TORCH_ALLOWED = ("crowdfm_core/backends/torch_", "crowdfm_core/pretraining/")

# Makes an import of torch fail as it does where torch is not installed.
WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torch_scatter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
"""


def imported_packages(path: Path) -> set[str]:
    """Top-level names imported anywhere in a file, also inside functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name.partition(".")[0] for name in names}


def python_files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no Python file under {folder}"
    return found


def importers(folder: str, packages: set[str]) -> list[str]:
    return [
        path.relative_to(ROOT).as_posix()
        for path in python_files(folder)
        if imported_packages(path) & packages
    ]


def test_core_never_imports_spark_or_jobs() -> None:
    assert importers("crowdfm_core", {"pyspark", "delta", "py4j", "jobs", "udfs"}) == []


@pytest.mark.parametrize("folder", ["jobs", "udfs"])
def test_spark_side_never_imports_torch(folder: str) -> None:
    assert importers(folder, {"torch", "torch_scatter"}) == []


def test_core_imports_torch_only_for_training_and_gpus() -> None:
    users = importers("crowdfm_core", {"torch", "torch_scatter"})
    assert [user for user in users if not user.startswith(TORCH_ALLOWED)] == []


def test_importing_the_core_loads_neither_torch_nor_spark() -> None:
    code = "import sys, crowdfm_core; print(sorted({'torch', 'pyspark'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_changes_no_root_logger() -> None:
    code = (
        "import logging; before = (logging.root.level, list(logging.root.handlers))\n"
        "import crowdfm_core, jobs.nightly\n"
        "assert (logging.root.level, list(logging.root.handlers)) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cpu_scoring_without_torch_labels_a_frame() -> None:
    code = f"""{WITHOUT_TORCH}
import pandas as pd
from crowdfm_core import CrowdFM
answers = pd.DataFrame(
    [("t1", "a", "x"), ("t1", "b", "x"), ("t1", "c", "y"), ("t2", "a", "y"), ("t2", "b", "y")],
    columns=["task", "worker", "label"],
)
print(dict(CrowdFM().fit_predict(answers)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'t1': 'x', 't2': 'y'}"
