"""From image shards to batches: decoding, cropping, order."""
