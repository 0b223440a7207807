"""Says in one line why Spark failed; its exceptions carry pages of stack traces."""

from __future__ import annotations

import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

__all__ = ["SPARK_ERRORS", "reason_of"]

# Spark's own exception is not raised for every failure within the JVM.
SPARK_ERRORS = (PySparkException, Py4JJavaError)

_MAX_CHARACTERS = 1_000


def reason_of(error: BaseException) -> str:
    """Return the root cause of an error in one line of at most 1,000 characters."""
    text = str(error)
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        text = str(cause.toString())
    # What was raised within a Python worker follows its traceback, which is indented.
    _, raised, traceback = text.partition("Traceback (most recent call last):\n")
    if raised:
        text = next((line for line in traceback.splitlines() if line[:1].strip()), text)
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"\s+", " ", first).strip()[:_MAX_CHARACTERS]
