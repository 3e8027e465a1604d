"""Local files that survive a crash: atomic replace, exclusive create, and what fsync has to reach.

A rename is atomic but not durable; a file is durable only when it and every folder above it that
is new were fsynced. `durable=False` leaves the fsyncs out: still atomic for readers and for a
killed process, lost or empty only when the machine itself goes down.
"""

import os
import uuid
from pathlib import Path


def replace_file(path: Path, data: bytes, *, tmp: Path | None = None, durable: bool = True) -> None:
    """Writes `path` so that readers see the old content or the new one, never a part.

    Args:
        path: the file; its folder is made where absent.
        data: the whole content.
        tmp: folder for the temporary file, on the same file system; default: beside `path`.
        durable: whether the content must survive a crash of the machine.

    Raises:
        OSError: nothing of `path` has changed.
    """
    source = _write_temporary(tmp or path.parent, path.name, data, durable=durable)
    try:
        place(source, path, durable=durable)
    except BaseException:
        source.unlink(missing_ok=True)
        raise


def create_file(path: Path, data: bytes, *, tmp: Path | None = None, durable: bool = True) -> bool:
    """Creates `path` with its whole content; False when it exists. One of many callers wins.

    A hard link, not O_EXCL: a process killed after O_EXCL would leave an empty file that won.

    Raises:
        OSError: nothing was created; EPERM or ENOTSUP where the file system has no hard links.
    """
    source = _write_temporary(tmp or path.parent, path.name, data, durable=durable)
    try:
        try:
            os.link(source, path)
        except FileNotFoundError:
            make_folder(path.parent, durable=durable)
            os.link(source, path)
    except FileExistsError:
        return False
    finally:
        source.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)
    return True


def place(source: Path, target: Path, *, durable: bool = True) -> None:
    """Renames a file or folder, making the target's folder where absent.

    Raises:
        OSError: as os.rename; ENOTEMPTY or EEXIST when the target is a folder with content.
    """
    try:
        source.rename(target)
    except FileNotFoundError:
        make_folder(target.parent, durable=durable)
        source.rename(target)
    if durable:
        sync_folder(target.parent)


def make_folder(path: Path, *, durable: bool = True) -> None:
    """Makes a folder and its parents; new ones are fsynced into the folder above them.

    Raises:
        OSError: it cannot be made, or something on the way is no folder.
    """
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    except FileNotFoundError:
        make_folder(path.parent, durable=durable)
        path.mkdir(exist_ok=True)
    if durable:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes the names inside a folder durable."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_tree(path: Path) -> None:
    """Makes a file, or a folder with everything below it, durable, without its own name."""
    if not path.is_dir():
        _sync(path, os.O_RDONLY)
        return
    for folder, _, files in os.walk(path):
        for name in files:
            _sync(Path(folder, name), os.O_RDONLY)
        sync_folder(Path(folder))


def sync_folders(path: Path) -> None:
    """Makes the names in a folder and in all below it durable; the files are so already."""
    for folder, _, _ in os.walk(path):
        sync_folder(Path(folder))


def temporary_name(folder: Path, name: str) -> Path:
    """A path in `folder` that nobody else has."""
    return folder / f".{name[:100]}.{uuid.uuid4().hex}.tmp"


def _write_temporary(folder: Path, name: str, data: bytes, *, durable: bool) -> Path:
    path = temporary_name(folder, name)
    try:
        file = path.open("xb")
    except FileNotFoundError:
        make_folder(folder, durable=durable)
        file = path.open("xb")
    try:
        with file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
