"""Options of Java for the JVMs of tests."""

from __future__ import annotations

__all__ = ["LASTING", "SHORT_LIVED"]

# Without the first, Java may run out of room for compiled code, which Spark fills up. Several such
# JVMs share two cores, where a concurrent collector costs more than it saves.
LASTING = "-XX:ReservedCodeCacheSize=512m -XX:+UseSerialGC"
# What lives for minutes never earns back what the second compiler costs.
SHORT_LIVED = f"-XX:TieredStopAtLevel=1 {LASTING}"
