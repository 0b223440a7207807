"""Samples memory and processor time of a process and all its descendants, Java and Python apart.

Linux only: everything is read from /proc.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Sample", "Watched", "watch", "watch_or_exit"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_EVERY_SECONDS = 0.5
_KINDS = ("java", "python")


@dataclass(frozen=True)
class Sample:
    """State at one moment; cpu_seconds also count processes that have ended. By kind.

    largest_bytes: memory of the largest process of the kind, memory_bytes of all.
    """

    epoch_seconds: float
    memory_bytes: dict[str, int]
    largest_bytes: dict[str, int]
    cpu_seconds: dict[str, float]


@dataclass
class Watched:
    """What a command printed, how long it took, and samples of its processes."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    samples: list[Sample] = field(default_factory=list)

    def peak_memory_bytes(self) -> dict[str, int]:
        """Largest memory of each kind, of both at one moment as `together`, and of one process of
        Python as `one_python`."""
        peaks = {
            kind: max((one.memory_bytes[kind] for one in self.samples), default=0)
            for kind in _KINDS
        }
        together = max((sum(one.memory_bytes.values()) for one in self.samples), default=0)
        one_python = max((one.largest_bytes["python"] for one in self.samples), default=0)
        return peaks | {"together": together, "one_python": one_python}

    def cpu_seconds(self, start: float, end: float) -> dict[str, float]:
        """Processor time by kind between two moments, as far as samples tell."""
        within = [one for one in self.samples if start <= one.epoch_seconds <= end]
        if not within:
            return dict.fromkeys(_KINDS, 0.0)
        first, last = within[0].cpu_seconds, within[-1].cpu_seconds
        return {kind: last[kind] - first[kind] for kind in _KINDS}


def watch(command: Sequence[str], *, cwd: Path, root: int | None = None) -> Watched:
    """Run a command to its end, sampling its processes all the while, or those under `root`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    samples: list[Sample] = []
    ended = threading.Event()
    sampled = process.pid if root is None else root
    sampler = threading.Thread(target=_sample_until, args=(sampled, ended, samples))
    sampler.start()
    try:
        stdout, stderr = process.communicate()
    finally:
        ended.set()
        sampler.join()
    seconds = time.perf_counter() - began
    return Watched(process.returncode, stdout, stderr, seconds, samples)


def watch_or_exit(
    command: Sequence[str], *, cwd: Path, problem: str, root: int | None = None
) -> Watched:
    """Watch a command; where it fails, show its errors and end this one, saying the problem."""
    run = watch(command, cwd=cwd, root=root)
    if run.returncode:
        sys.stderr.write(run.stderr)
        raise SystemExit(f"{problem} ({run.returncode})")
    return run


def _sample_until(root: int, ended: threading.Event, samples: list[Sample]) -> None:
    used: dict[tuple[int, str], float] = {}  # largest processor time seen of each process
    while not ended.wait(_EVERY_SECONDS):
        memory, largest = dict.fromkeys(_KINDS, 0), dict.fromkeys(_KINDS, 0)
        for pid in _tree(root):
            try:
                kind = "java" if "java" in Path(f"/proc/{pid}/comm").read_text() else "python"
                own = _resident_bytes(pid) if kind == "java" else _shared_out_bytes(pid)
                memory[kind] += own
                largest[kind] = max(largest[kind], own)
                used[pid, kind] = _cpu_seconds(pid)
            except OSError:  # it has ended meanwhile
                continue
        cpu = {kind: sum(s for (_, of), s in used.items() if of == kind) for kind in _KINDS}
        samples.append(Sample(time.time(), memory, largest, cpu))


def _tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_stat(int(entry.name))[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, which may hold spaces: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_seconds(pid: int) -> float:
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / _TICKS


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def _shared_out_bytes(pid: int) -> int:
    """Resident memory; pages that forked processes share count for each of them in part.

    The kernel walks all pages for it: for those of a Java process that would slow what is measured.
    """
    smaps = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", smaps, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
