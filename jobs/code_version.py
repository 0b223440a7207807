"""Identifies what computes results: this project's code, the libraries, the form of the model."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable

from crowdfm_core.models import ModelConfig

__all__ = ["code_sha256"]

_PACKAGES = ("crowdfm_core", "jobs", "udfs")
_KINDS = (".py", ".sql")
_LIBRARIES = ("delta-spark", "numba", "numpy", "pandas", "pyarrow", "pyspark", "torch")


def code_sha256(model: ModelConfig) -> str:
    """Return a hash that differs where results may, with equal settings and tensors.

    It is of every file of code, the versions of Python and the libraries, and the architecture and
    configuration of the frozen model.
    """
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for name, data in _files(files(package), package):
            digest.update(f"{name} {len(data)}\n".encode())
            digest.update(data)
    for library in _LIBRARIES:
        digest.update(f"{library} {_version(library)}\n".encode())
    digest.update(f"python {platform.python_version()}\n{model!r}".encode())
    return digest.hexdigest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # torch is optional, and Spark may come from SPARK_HOME
        return "unknown"


def _files(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Code below a folder, which may lie in an archive, in an order that is always the same."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry, path)
        elif entry.name.endswith(_KINDS):
            yield path, entry.read_bytes()
