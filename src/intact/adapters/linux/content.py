"""The content of a file that somebody else may be changing: its digests, or the reason why there is none.

In: an open directory and a name. Out: its digests, the first bytes, or a reason. Never opens anything but a regular file, never follows a
link, never waits for a lease or a FIFO, and reads no hole.

1. Open O_PATH|O_NOFOLLOW, which opens nothing; only a regular file goes on.
2. Reopen that very file through /proc/self/fd.
3. Settle: have dirty pages written back, so that a later store through a mapping moves the ctime.
4. Stat, hash the data by extents and the holes as zeros, stat again: the same, or from 3 once more, then give up.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from intact.model.digest import Algorithms
from intact.model.hashing import Hasher, choose_hasher

from . import syscalls
from .known import identify

_ATTEMPTS = 3
_BUFFER_BYTES = 1 << 20
_ZEROS = bytes(_BUFFER_BYTES)


class Unreadable(Exception):
    """A file that cannot be read as it should, with the reason for people; `read_last`: the digests of what was read though it changed."""

    def __init__(self, reason: str, read_last: bytes = b"") -> None:
        super().__init__(reason)
        self.read_last = read_last


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read: `pace` is told the bytes before each read and may sleep; `drop_cache` leaves the page cache as it was found."""

    pace: Callable[[int], None] | None = None
    drop_cache: bool = False
    seconds: float = 60.0


def open_regular(directory: int, name: bytes) -> int:
    """A descriptor for reading the regular file `name`. Raises Unreadable for anything else, OSError if it is gone."""
    path_only = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(path_only).st_mode):
            raise Unreadable("is no regular file any more")
        again = f"/proc/self/fd/{path_only}"
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(again, flags | os.O_NOATIME)
        except PermissionError:
            return os.open(again, flags)
    finally:
        os.close(path_only)


def hash_file(descriptor: int, limit_bytes: int, reading: Reading, algorithms: Algorithms) -> tuple[bytes, tuple[int, int, int, int, int]]:
    """The digests of the whole content (`hashing.split_values`) with the identity it belongs to. Raises Unreadable, or OSError as the disk
    does."""
    deadline = time.monotonic() + reading.seconds
    digest = b""
    for _ in range(_ATTEMPTS):
        try:
            syscalls.settle(descriptor)
        except OSError as error:
            if error.errno in (errno.EIO, errno.ENOSPC):
                raise
        before = os.fstat(descriptor)
        if before.st_size > limit_bytes:
            raise Unreadable(f"{before.st_size} bytes are more than the {limit_bytes} that may be read here")
        digest = _hash_extents(descriptor, before.st_size, deadline, reading, choose_hasher(algorithms)())
        if reading.drop_cache:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if identify(before) == identify(os.fstat(descriptor)):
            return digest, identify(before)
    raise Unreadable("changes while it is read", digest)


def _hash_extents(descriptor: int, size: int, deadline: float, reading: Reading, hasher: Hasher) -> bytes:
    buffer = bytearray(min(_BUFFER_BYTES, max(size, 1)))
    view = memoryview(buffer)
    offset = 0
    while offset < size:
        data, end = _next_extent(descriptor, offset, size)
        offset = _hash_hole(hasher, offset, data, deadline)
        while offset < end:
            _check(deadline)
            wanted = min(len(buffer), end - offset)
            if reading.pace:
                reading.pace(wanted)
            got = os.preadv(descriptor, [view[:wanted]], offset)
            if not got:
                return hasher.digest()  # shrunk: the stat afterwards says so
            hasher.update(view[:got])
            offset += got
    return hasher.digest()


def _next_extent(descriptor: int, offset: int, size: int) -> tuple[int, int]:
    """Where the next data begins and ends (lseek(2), SEEK_DATA); one extent for all where the file system cannot tell."""
    if offset == 0 and size <= _BUFFER_BYTES:
        return 0, size
    try:
        data = min(os.lseek(descriptor, offset, os.SEEK_DATA), size)
        return data, min(os.lseek(descriptor, data, os.SEEK_HOLE), size) if data < size else size
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        return offset, size


def _hash_hole(hasher: Hasher, start: int, end: int, deadline: float) -> int:
    while start < end:
        _check(deadline)
        step = min(len(_ZEROS), end - start)
        hasher.update(_ZEROS if step == len(_ZEROS) else _ZEROS[:step])
        start += step
    return start


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Unreadable("takes too long to read")
