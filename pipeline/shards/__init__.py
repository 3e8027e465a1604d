"""The shard format: write, index, read, verify."""

from pipeline.shards.peek import TokenSample, peek
from pipeline.shards.reader import TokenShards
from pipeline.shards.verify import verify
from pipeline.shards.writer import TokenShardWriter

__all__ = ["TokenSample", "TokenShardWriter", "TokenShards", "peek", "verify"]
