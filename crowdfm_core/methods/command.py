"""`crowdfm methods`: the methods of aggregation, their papers and what they return."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from crowdfm_core.methods.registry import CROWDFM, METHODS, Method, MethodDescription

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """List every method; returns 0."""
    parser = argparse.ArgumentParser(prog="crowdfm methods", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line per method")
    arguments = parser.parse_args(argv)
    for record in _records():
        if arguments.json:
            sys.stdout.write(json.dumps(record) + "\n")
        else:
            lines = (f"    {key.replace('_', ' ')}: {value}" for key, value in record.items())
            sys.stdout.write("\n".join([record["name"], *list(lines)[1:]]) + "\n")
    return 0


def _records() -> list[dict[str, str]]:
    return [
        {
            "name": described.name,
            "paper": described.paper,
            "probabilities": described.probabilities,
            "worker_score": described.worker_score,
            "gold": _of_gold(described),
            "undefined_on": (isinstance(described, Method) and described.undefined_on) or "nothing",
        }
        for described in (CROWDFM, *METHODS.values())
    ]


def _of_gold(described: MethodDescription) -> str:
    return "used" if isinstance(described, Method) and described.uses_gold else "ignored"
