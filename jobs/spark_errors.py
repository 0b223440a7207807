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
_CONDITION = re.compile(r"^[\w.$]+: \[[A-Z][A-Z0-9_.]+\]")  # such as [FAILED_READ_FILE.NO_HINT]


def reason_of(error: BaseException) -> str:
    """Return in one line what failed and, after a semicolon, the root cause if it is another, or
    what to set so that it does not fail."""
    reason = _reason_of(error)
    return "; ".join([reason, *(advice for sign, advice in _ADVICE.items() if sign in reason)])


def _reason_of(error: BaseException) -> str:
    if not isinstance(error, Py4JJavaError):
        return _first_line(str(error)) or type(error).__name__
    causes = [error.java_exception]
    while (cause := causes[-1].getCause()) is not None:
        causes.append(cause)
    texts = [str(cause.toString()) for cause in causes]
    lines = [_first_line(text) for text in texts]
    failure, root = lines[0], lines[-1]
    if _TRACEBACK in texts[-1] or root == failure:
        return root  # a Python worker's own words need nothing around them
    # Of what lies between, Spark's conditions name the file or the table.
    named = [line for line in lines[1:-1] if _CONDITION.search(line)]
    return "; cause: ".join(dict.fromkeys([failure, *named, root]))


def _first_line(text: str) -> str:
    # What was raised within a Python worker follows its traceback, which is indented.
    _, raised, traceback = text.partition(_TRACEBACK)
    if raised:
        text = next((line for line in traceback.splitlines() if line[:1].strip()), text)
    first = next((line for line in text.splitlines() if line.strip()), "")
    return re.sub(r"\s+", " ", first).strip()[:_MAX_CHARACTERS]
