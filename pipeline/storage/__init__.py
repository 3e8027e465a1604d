"""Bytes somewhere: a folder or an object store."""
