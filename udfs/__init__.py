"""The Arrow boundary: decode a partition, call the core, encode."""
