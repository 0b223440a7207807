"""What computes results is identified, whether it lies in folders or in an archive."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

import jobs.code_version
from crowdfm_core.models.attention import AttentionConfig
from jobs.code_version import code_sha256

MODEL = AttentionConfig()


def test_code_of_folders_and_archives_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "code" / "sql").mkdir(parents=True)
    (tmp_path / "code" / "b.py").write_text("b")
    (tmp_path / "code" / "a.pyc").write_text("compiled")  # is made of the others
    (tmp_path / "code" / "sql" / "c.sql").write_text("c")
    archive = shutil.make_archive(str(tmp_path / "code"), "zip", tmp_path, "code")
    in_archive = zipfile.Path(archive, "code/")
    found = [("code/b.py", b"b"), ("code/sql/c.sql", b"c")]
    assert list(jobs.code_version._files(tmp_path / "code", "code")) == found
    assert list(jobs.code_version._files(in_archive, "code")) == found


@pytest.mark.parametrize("name", ["jobs/sql/em_fits.sql", "udfs/score_batches.py"])
def test_every_file_of_code_counts(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    package = name.split("/")[0]
    assert name in dict(jobs.code_version._files(files(package), package))
    before = code_sha256(MODEL)
    listed = jobs.code_version._files

    def changed(folder: Traversable, package: str) -> list[tuple[str, bytes]]:
        return [(path, data + b" " * (path == name)) for path, data in listed(folder, package)]

    monkeypatch.setattr(jobs.code_version, "_files", changed)
    assert code_sha256(MODEL) != before


def test_libraries_count_and_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(library: str) -> str:
        if library == "torch":
            raise PackageNotFoundError(library)
        return version(library)

    before = code_sha256(MODEL)
    monkeypatch.setattr(jobs.code_version, "version", without_torch)
    assert code_sha256(MODEL) != before


def test_form_of_the_model_counts() -> None:
    """The tensors have the same shapes in both."""
    other = replace(MODEL, output_bias="once")
    assert code_sha256(MODEL) == code_sha256(replace(other, output_bias=MODEL.output_bias))
    assert code_sha256(MODEL) != code_sha256(other)
