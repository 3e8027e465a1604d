"""What a foreign exception means to the person who has to mend it, without any secret in it."""

import errno
import re

from pipeline.errors import StoreError

_FIXES = {
    errno.ENOSPC: (
        "no space left",
        "Free space there (pipeline cache gc), or name another store.",
    ),
    errno.EDQUOT: (
        "disk quota exceeded",
        "Free space there (pipeline cache gc), or name another store.",
    ),
    errno.EROFS: (
        "read-only file system",
        "Remount it writable, or name another store.",
    ),
    errno.EACCES: (
        "permission denied",
        "Give this user read and write access, or name another store.",
    ),
    errno.EPERM: (
        "operation not permitted",
        "Give this user write access, or use a file system that has hard links.",
    ),
    errno.EOPNOTSUPP: (
        "operation not supported",
        "Use a file system that has hard links and atomic renames.",
    ),
    errno.EFBIG: (
        "file too large",
        "Raise the file size limit (ulimit -f), or use a file system with larger files.",
    ),
    errno.ENOTDIR: (
        "a file stands where a folder must be",
        "Remove that file, or name another store.",
    ),
    errno.EXDEV: (
        "the store spans two file systems",
        "Put the whole store on one: what is committed is moved within it.",
    ),
    errno.EMFILE: ("too many open files", "Raise the limit (ulimit -n)."),
    errno.ENAMETOOLONG: ("name too long", "Use a store with a shorter path."),
    errno.EIO: ("input/output error", "Check the disk or the mount."),
    errno.ESTALE: ("stale file handle", "Remount the network file system."),
}
_BY_CLASS = {
    "NoCredentialsError": (
        "no credentials found",
        "Give them by the environment, e.g. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    ),
    "EndpointConnectionError": (
        "cannot reach the server",
        "Check the network and the endpoint (AWS_ENDPOINT_URL).",
    ),
    "FileNotFoundError": ("no such bucket or folder", "Make it first, or correct the URL."),
    "PermissionError": (
        "permission denied",
        "Check the credentials and the bucket's policy.",
    ),
    "ImportError": (
        "the file system's package is not installed",
        "Install the extra: pip install 'pretraining-pipeline[s3]' (or gs, az).",
    ),
}
_OTHER_FIX = "Check that the store is reachable; the same command may work later."
_USERINFO = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*@")
_QUERY = re.compile(r"\?[^\s'\"]*")


def redact(text: str) -> str:
    """The text without `user:password@` and query strings (signed URLs) of any URL in it."""
    text = _USERINFO.sub("***@", text)
    return _QUERY.sub("?***", text) if "://" in text else text


def has_secret(url: str) -> bool:
    """Whether a URL carries a password, or a query, where signatures and tokens stand."""
    return redact(url) != url


def cause_and_fix(exc: BaseException) -> tuple[str, str]:
    """(what went wrong, what to do) for an exception of the operating system or of a library."""
    if isinstance(exc, OSError) and exc.errno in _FIXES:
        words, fix = _FIXES[exc.errno]
        place = f" at {redact(str(exc.filename))}" if exc.filename else ""
        return f"{words}{place} ({errno.errorcode[exc.errno]})", fix
    known = next((name.__name__ for name in type(exc).__mro__ if name.__name__ in _BY_CLASS), None)
    if known:
        words, fix = _BY_CLASS[known]
        return f"{words} ({redact(str(exc))})", fix
    return f"{type(exc).__name__}: {redact(str(exc))}", _OTHER_FIX


def store_failure(url: str, action: str, exc: BaseException) -> StoreError:
    """The StoreError for a foreign exception: "store URL: cannot ACTION: cause. Fix."."""
    cause, fix = cause_and_fix(exc)
    return StoreError(f"store {redact(url)}: cannot {action}: {cause}. {fix}")
