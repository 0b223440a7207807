"""Architectures, each written once over `Operations`, so that every device runs the same steps."""
