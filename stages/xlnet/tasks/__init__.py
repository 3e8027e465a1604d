"""Finetuning on the tasks of the paper, read from their own files; needs no shards."""
