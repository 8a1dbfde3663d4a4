"""Regular files of untrusted images, opened and read without waiting for anything: no symlink, no FIFO, no device."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intact.model.errors import InputError, PermanentError

CHUNK_BYTES = 1 << 20


@contextmanager
def open_regular(path: Path, what: str) -> Iterator[int]:
    """A descriptor of a regular file; raises InputError (no such file, something else than a file) or PermanentError (no right to read)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"{what} is not there", code="BlobUnknown") from None
    except PermissionError as error:
        raise PermanentError(f"{what}: {error.strerror}", code="Permission") from None
    except OSError as error:
        raise InputError(f"{what}: {error.strerror}", code="Layout") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InputError(f"{what} is not a regular file", code="Layout")
        yield fd
    finally:
        os.close(fd)


def read_chunks(fd: int, *, start: int = 0, size_bytes: int | None = None) -> Iterator[bytes]:
    """The file's bytes from `start`, at most `size_bytes` of them."""
    at, left = start, size_bytes
    while left is None or left > 0:
        chunk = os.pread(fd, CHUNK_BYTES if left is None else min(CHUNK_BYTES, left), at)
        if not chunk:
            return
        at += len(chunk)
        left = None if left is None else left - len(chunk)
        yield chunk
