"""scripts/require.sh: what is missing is named, with a way to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "require.sh"
TOOLS = ("bash", "sed", "head", "env")


def require(
    folder: Path, what: str, *, fakes: dict[str, str] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the script with nothing on PATH but a few tools and the fakes (name -> shell script)."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    for name, text in (fakes or {}).items():
        fake = folder / name
        fake.parent.mkdir(exist_ok=True, parents=True)
        fake.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        fake.chmod(0o755)
    hidden = ("JAVA_HOME", "PYTHON", "CXX")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        ["bash", str(SCRIPT), what],
        env={**kept, "PATH": str(folder), **environment},
        capture_output=True,
        text=True,
    )


def java(release: str) -> str:
    return f"echo 'openjdk version \"{release}\" 2025-01-01' >&2"


@pytest.mark.parametrize("release", ["17.0.15", "21", "25-ea"])
def test_java_that_is_new_enough_is_accepted(tmp_path: Path, release: str) -> None:
    done = require(tmp_path, "java", fakes={"java": java(release)})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("fakes", "environment", "found"),
    [
        ({}, {}, "No Java was found."),
        ({"java": java("11.0.2")}, {}, "java is Java 11."),
        ({"java": java("1.8.0_292")}, {}, "java is Java 1."),
        ({"java": java("17.0.1")}, {"JAVA_HOME": "/nowhere"}, "(JAVA_HOME is /nowhere)"),
        ({"java": "exit 1"}, {}, "No Java was found."),
    ],
)
def test_java_that_is_missing_or_old_is_named_with_a_way_to_get_it(
    tmp_path: Path, fakes: dict[str, str], environment: dict[str, str], found: str
) -> None:
    done = require(tmp_path, "java", fakes=fakes, **environment)
    assert done.returncode == 1
    assert found in done.stderr
    assert "sudo apt-get install openjdk-17-jre-headless" in done.stderr


def test_java_of_java_home_goes_before_that_of_the_path(tmp_path: Path) -> None:
    fakes = {"java": java("8"), "home/bin/java": java("17.0.1")}
    done = require(tmp_path, "java", fakes=fakes, JAVA_HOME=str(tmp_path / "home"))
    assert done.returncode == 0


def test_python_is_the_named_one_or_the_way_to_get_one_is_told(tmp_path: Path) -> None:
    done = require(tmp_path, "python", PYTHON=sys.executable)
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)
    (tmp_path / "old").mkdir()
    done = require(tmp_path / "old", "python", fakes={"python3": "[ $2 != ? ] && echo 3.9; exit 1"})
    assert done.returncode == 1
    assert "CrowdFM needs Python 3.11 or newer" in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr


def test_compiler_that_is_missing_is_named_with_a_way_to_get_it(tmp_path: Path) -> None:
    done = require(tmp_path, "compiler", PYTHON=sys.executable)
    assert done.returncode == 1
    assert "needs a C++ compiler (c++ or g++)" in done.stderr
    assert "sudo apt-get install g++ python3-dev" in done.stderr


def test_unknown_prerequisite_is_refused(tmp_path: Path) -> None:
    done = require(tmp_path, "rust")
    assert done.returncode == 2
    assert done.stderr == "usage: require.sh python|java|compiler\n"
