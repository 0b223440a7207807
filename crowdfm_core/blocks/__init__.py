"""One component over many processes: blocks of tasks and shards of workers that add up sums."""
