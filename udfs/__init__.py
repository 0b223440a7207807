"""The Arrow boundary: partitions of a DataFrame in, calls of the core, record batches out."""
