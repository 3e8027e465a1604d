"""What is there already: artifacts, results, leases."""

from pipeline.cache.artifacts import Artifacts
from pipeline.cache.leases import Lease, LeaseLost, Leases
from pipeline.cache.manifest import FileEntry, Manifest
from pipeline.cache.results import Lookup, Result, Results

__all__ = [
    "Artifacts",
    "FileEntry",
    "Lease",
    "LeaseLost",
    "Leases",
    "Lookup",
    "Manifest",
    "Result",
    "Results",
]
