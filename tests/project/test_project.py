"""Packaging: pins, make targets, what README.md tells to type, and what must not be in the tree."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from jobs.cli import _COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAX_LINES = 350  # of a source file


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def source_files() -> list[Path]:
    folders = ("crowdfm_core", "jobs", "udfs", "tests", "scripts", "conf")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    return [path for path in files if path.suffix in {".py", ".sql", ".sh", ".yaml"}]


def test_constraints_pin_every_requirement_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    pinned = {name.replace("_", "-"): version for name, version in pinned.items()}
    extras = PROJECT["optional-dependencies"].values()
    for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        version = pinned[requirement.name.lower()]
        assert version in requirement.specifier, f"{text}: constraints.txt has {version}"


def test_constraints_name_no_host() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert "index-url" not in text


def test_bare_make_prints_help_with_run_and_test() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make run " in done.stdout
    assert "make test " in done.stdout


def test_readme_make_commands_exist() -> None:
    told = re.findall(r"\bmake ([a-z-]+)\b(?=\s*[`#\n])", README)
    assert {"run", "test"} <= set(told) <= make_targets()


def test_readme_shell_commands_use_known_subcommands_and_files() -> None:
    blocks = [block.replace("\\\n", " ") for block in code_blocks("sh")]
    lines = [line for block in blocks for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["crowdfm"]:
            assert words[1] in _COMMANDS, line
    for path in re.findall(r"`((?:conf|jobs|scripts|weights|crowdfm_core)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), f"README.md names {path}"


@pytest.mark.parametrize("target", sorted(make_targets()))
def test_make_target_can_be_planned(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_source_files_are_short_enough_to_read() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in source_files()}
    assert {path.name: length for path, length in lengths.items() if length > MAX_LINES} == {}
