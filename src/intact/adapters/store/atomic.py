"""Files that appear whole or not at all: written beside their place, flushed, then renamed (rename(2))."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from intact.model.errors import PermanentError, TemporaryError

PARTIAL = ".partial"


def write_atomically(path: Path, parts: Iterable[bytes | memoryview], *, mode: int = 0o644) -> None:
    """Replaces `path` by a file of `parts`, on disk when this returns. Raises TemporaryError (disk full) or PermanentError; then, and when
    interrupted, what stood there is untouched and nothing is left beside it."""
    name = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")  # known before it exists: an interrupt may come at any moment
    try:
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, mode)
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(fd)
            os.rename(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise explain(error, str(path)) from None


def sync_directory(path: Path) -> None:
    """Makes names in a directory last (fsync(2), NOTES)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def explain(error: OSError, what: str) -> TemporaryError | PermanentError:
    """What an OSError while writing means for the caller."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(
            f"cannot write {what}: the disk is full", code="DiskFull", hint="make room and try again; nothing was changed"
        )
    return PermanentError(f"cannot write {what}: {error.strerror or error}", code="Write")
