"""Fixtures for all tests."""

from tests.stores import local_store, s3_bucket, store

__all__ = ["local_store", "s3_bucket", "store"]
