"""The shard format: write, index, read, verify."""
