"""The nightly job: annotations of a lake in, labels and worker scores in Delta tables out.

Runs as `crowdfm nightly --conf FILE` and as `spark-submit jobs/nightly.py --conf FILE`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from crowdfm_core.config import JobConfig, load_config
from crowdfm_core.errors import CrowdFMError, RunError, ScoringError
from jobs.run import run_nightly
from jobs.spark_errors import SPARK_ERRORS, reason_of

__all__ = ["main"]

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 done, 2 refused with one message, 1 failed."""
    parser = argparse.ArgumentParser(prog="crowdfm nightly", description=__doc__)
    parser.add_argument("--conf", required=True, help="configuration, see conf/local.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for this run only"
    )
    parser.add_argument("--run-id", help="name of the run (default: time and a random part)")
    parser.add_argument("--dry-run", action="store_true", help="plan and count, write nothing")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and stop"
    )
    chosen = parser.parse_args(arguments)
    try:
        config = load_config(chosen.conf, chosen.set)
        if chosen.print_config:
            sys.stdout.write(yaml.safe_dump(config.to_mapping(), sort_keys=False))
            return 0
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        for package in ("crowdfm_core", "jobs", "udfs"):
            logging.getLogger(package).setLevel(config.logging.level)
        summary = run_nightly(config, run_id=chosen.run_id, dry_run=chosen.dry_run)
    except (RunError, ScoringError) as error:
        sys.stderr.write(f"crowdfm nightly: {error}\n")
        return 1
    except CrowdFMError as error:
        sys.stderr.write(f"crowdfm nightly: {error}\n")
        return 2
    except SPARK_ERRORS as error:
        _log.debug("Spark failed", exc_info=True)
        hint = " (--set logging.level=DEBUG shows where)"
        sys.stderr.write(f"crowdfm nightly: Spark failed: {reason_of(error)}{hint}\n")
        return 1
    text = summary.to_json() if chosen.json else summary.to_text(_sql_command(config))
    sys.stdout.write(f"{text}\n")
    return 0


def _sql_command(config: JobConfig) -> str | None:
    """How to query the tables from a shell; None where that depends on the cluster."""
    local = (config.spark.master or "").startswith("local") and config.output.path is not None
    command = sys.argv[0] if Path(sys.argv[0]).name == "crowdfm" else "crowdfm"
    return f"{command} sql" if local else None


if __name__ == "__main__":
    sys.exit(main())
