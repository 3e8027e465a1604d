"""Bytes somewhere: a folder or an object store."""

from pipeline.storage.backend import FileInfo
from pipeline.storage.store import Store

__all__ = ["FileInfo", "Store"]
