"""Classical aggregation methods on arrays."""
