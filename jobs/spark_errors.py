"""Says in one line why Spark failed; its exceptions carry pages of stack traces."""

from __future__ import annotations

import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

__all__ = ["SPARK_ERRORS", "reason_of"]

# Spark's own exception is not raised for every failure within the JVM.
SPARK_ERRORS = (PySparkException, Py4JJavaError)

_MAX_CHARACTERS = 1_000
# What a reason contains -> what to do about it.
_ADVICE = {
    # It is not found where the executor that held it is gone.
    "Checkpoint block": "an executor was lost with what only it held: run again, or set "
    "spark.conf: {spark.checkpoint.dir: FOLDER} to a folder that all executors reach",
    "No space left on device": "what earlier runs published is intact: make room under "
    "spark.local.dir, where Spark shuffles, or under the output, and run again",
}
_TRACEBACK = "Traceback (most recent call last):\n"


def reason_of(error: BaseException) -> str:
    """Return in one line what failed and, after a semicolon, the root cause if it is another, or
    what to set so that it does not fail."""
    reason = _reason_of(error)
    return "; ".join([reason, *(advice for sign, advice in _ADVICE.items() if sign in reason)])


def _reason_of(error: BaseException) -> str:
    if not isinstance(error, Py4JJavaError):
        return _first_line(str(error)) or type(error).__name__
    outer = root = error.java_exception
    while root.getCause() is not None:
        root = root.getCause()
    cause, failure = str(root.toString()), _first_line(str(outer.toString()))
    if _TRACEBACK in cause or _first_line(cause) == failure:
        return _first_line(cause)  # a Python worker's own words need nothing around them
    return f"{failure}; cause: {_first_line(cause)}"


def _first_line(text: str) -> str:
    # What was raised within a Python worker follows its traceback, which is indented.
    _, raised, traceback = text.partition(_TRACEBACK)
    if raised:
        text = next((line for line in traceback.splitlines() if line[:1].strip()), text)
    first = next((line for line in text.splitlines() if line.strip()), "")
    return re.sub(r"\s+", " ", first).strip()[:_MAX_CHARACTERS]
