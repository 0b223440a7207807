"""Spark entry points and steps; the only reads and writes of Delta tables."""
