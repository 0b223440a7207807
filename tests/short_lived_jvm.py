"""Options of Java for the JVMs of tests, which live for minutes."""

from __future__ import annotations

__all__ = ["JVM_OPTIONS"]

# Such a JVM never earns back what its second compiler and a concurrent collector cost.
# Without it Java keeps a fifth of the room for compiled code, which Spark fills up.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m -XX:+UseSerialGC"
