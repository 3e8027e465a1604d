"""The shard format: write, index, read, verify."""

from pipeline.shards.image_writer import ImageShardWriter
from pipeline.shards.images import ImageShards
from pipeline.shards.peek import TokenSample, peek
from pipeline.shards.reader import TokenShards
from pipeline.shards.verify import verify
from pipeline.shards.writer import TokenShardWriter

__all__ = [
    "ImageShardWriter",
    "ImageShards",
    "TokenSample",
    "TokenShardWriter",
    "TokenShards",
    "peek",
    "verify",
]
