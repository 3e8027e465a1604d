"""Names inside a store: what a key may look like, and how free text becomes a part of one."""

import hashlib
import urllib.parse

MAX_KEY_BYTES = 1024
"""S3's limit, the smallest of the object stores."""
MAX_PART_BYTES = 255
"""NAME_MAX of Linux's file systems."""
_KEPT_OF_LONG_NAME = 180


def check_key(key: str) -> str:
    """The key itself, when every store can hold it and it stays inside the store.

    Keys come from manifests and other files that someone else may have written, so they are
    checked wherever they enter.

    Raises:
        ValueError: the key is empty, absolute, climbs with `..`, or has a part no store can name.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        msg = f"key {key!r} is not valid text. Use a UTF-8 name."
        raise ValueError(msg) from None
    if size > MAX_KEY_BYTES:
        msg = f"key {key[:60]!r}... has {size} bytes, the limit is {MAX_KEY_BYTES}. Shorten it."
        raise ValueError(msg)
    for part in key.split("/"):
        if part in ("", ".", "..") or "\0" in part or len(part.encode()) > MAX_PART_BYTES:
            msg = (
                f"key {key!r}: {part!r} cannot be a name inside a store. Use relative names "
                f"joined by single slashes, without . and .., at most {MAX_PART_BYTES} bytes each."
            )
            raise ValueError(msg)
    return key


def safe_name(text: str) -> str:
    """One part of a key for any text, e.g. a stage's address; different texts, different names.

    Letters, digits and `_.-~[]=,` stay; the rest is percent-encoded; long text ends in a digest.
    """
    name = urllib.parse.quote(text, safe="[]=,", errors="surrogatepass")
    if name.strip(".") == "":
        name = name.replace(".", "%2E") or "%"
    if len(name) <= _KEPT_OF_LONG_NAME:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{name[:_KEPT_OF_LONG_NAME]}~{digest[:32]}"
