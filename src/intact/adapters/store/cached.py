"""Copies of tables from far away, in one directory: mapped, bounded in size, the least recently used goes first.

A copy is nobody's word: `baseline.store` verifies each table that it opens, and asks for it anew if it is not what it should be. Copies
survive the process; the directory may be emptied at any time. What is mapped stays readable after its file is gone (unlink(2)).
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from intact.baseline.ports import TableFile
from intact.model.digest import Digest
from intact.model.errors import PermanentError

from .atomic import PARTIAL, write_atomically

DEFAULT_MAX_BYTES = 1 << 30
SUFFIX = ".table"
MARK_EVERY_S = 600.0
SETTLED_NS = 2_000_000_000
_PIECE_BYTES = 1 << 20
_64_BITS = (1 << 64) - 1
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
"""A mapping needs no descriptor (mmap(2)); before Python 3.13 each keeps one all the same (`run.descriptors`)."""


class TableCache:
    """Safe to share between threads; several processes may share the directory."""

    def __init__(self, directory: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for partial in directory.glob(f".*{PARTIAL}"):
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise PermanentError(f"cannot use {directory}: {error.strerror}", code="Store") from None

    def open(self, root: Digest) -> TableFile | None:
        """The copy, marked as used now; None if there is none. A mark changes the file's state, so it serves for `MARK_EVERY_S`."""
        path = self._path(root)
        file = open_table_file(path)
        if file is not None:
            with suppress(OSError):
                if not 0 <= time.time() - path.stat().st_mtime < MARK_EVERY_S:
                    os.utime(path)
        return file

    def keep(self, root: Digest, parts: Iterable[bytes | memoryview]) -> TableFile:
        """Makes the copy and maps it, whatever its size; others go for it. Raises what `parts` raises; then there is no copy."""
        path = self._path(root)
        write_atomically(path, parts, mode=0o600)
        file = open_table_file(path)
        self._evict(path)
        return TableFile(data=memoryview(b"")) if file is None else file

    def forget(self, root: Digest) -> None:
        with suppress(FileNotFoundError):
            self._path(root).unlink()

    def _evict(self, newest: Path) -> None:
        with self._lock:
            copies = []
            for path in self._directory.glob(f"*{SUFFIX}"):
                with suppress(FileNotFoundError):
                    info = path.stat()
                    copies.append((path == newest, info.st_mtime_ns, info.st_size, path))
            total = sum(size for _, _, size, _ in copies)
            for is_newest, _, size, path in sorted(copies):
                if total <= self._max_bytes or is_newest:
                    return
                path.unlink(missing_ok=True)
                total -= size

    def _path(self, root: Digest) -> Path:
        return self._directory / f"{root.algorithm}-{root.hex}{SUFFIX}"


def map_file(path: Path) -> memoryview | None:
    """A file's bytes, mapped for reading; None if there is none."""
    file = open_table_file(path)
    return None if file is None else file.data


def open_table_file(path: Path) -> TableFile | None:
    """A file's bytes, mapped for reading, and the state it is in; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PermanentError(f"cannot read {path}: {error.strerror}", code="Store") from None
    try:
        info = os.fstat(fd)
        data = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ, **_UNTRACKED)) if info.st_size else memoryview(b"")
        return TableFile(data=data, state=_tell_state(info, time.time_ns()))
    finally:
        os.close(fd)


def is_same(one: memoryview, other: memoryview) -> bool:
    """Whether two tables have the same bytes: by pieces, as comparing memoryviews takes fifty times as long as comparing bytes."""
    if len(one) != len(other):
        return False
    return all(bytes(one[at : at + _PIECE_BYTES]) == bytes(other[at : at + _PIECE_BYTES]) for at in range(0, len(one), _PIECE_BYTES))


def _tell_state(info: os.stat_result, now_ns: int) -> bytes | None:
    """Which file it is, and when anybody last wrote to it: the kernel sets `st_ctime` at every change, and nobody else can (inode(7)). Just
    after a change it says nothing: another one within the same tick of the kernel's clock would have the same time."""
    if not info.st_ctime_ns <= now_ns - SETTLED_NS:
        return None
    return struct.pack("=5Q", info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns & _64_BITS, info.st_ctime_ns & _64_BITS)
