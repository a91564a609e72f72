"""Files that hold contacts: only their owner can read them, whatever lay under their name before."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_private(path: str | Path, *, appending: bool = False) -> BinaryIO:
    """Open a file for writing, with mode 0600. Raises `OSError`, with a text that says why.

    A file that was there is replaced by a new one, so that whoever has opened it reads nothing of the new one. A link
    is refused: it may lead to a file of somebody else. A pipe or a device is written to as it is. `appending` adds to a
    file that is there, and takes the access of others from it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return os.fdopen(os.open(path, flags | os.O_EXCL, 0o600), "wb")
    if stat.S_ISLNK(found.st_mode):
        raise OSError(0, "is a link: name the file itself")
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(0, "is a folder")
    if not stat.S_ISREG(found.st_mode):
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb")
    if appending:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "ab")
    Path(path).unlink()
    return os.fdopen(os.open(path, flags | os.O_EXCL, 0o600), "wb")
