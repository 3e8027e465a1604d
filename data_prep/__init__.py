"""Raw data to shards."""
