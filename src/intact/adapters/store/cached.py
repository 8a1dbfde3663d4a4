"""Copies of tables from far away, in one directory: mapped, bounded in size, the least recently used goes first.

A copy is nobody's word: `baseline.store` verifies each table that it opens, and asks for it anew if it is not what it should be. Copies
survive the process; the directory may be emptied at any time. What is mapped stays readable after its file is gone (unlink(2)).
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from intact.model.digest import Digest
from intact.model.errors import PermanentError

from .atomic import PARTIAL, write_atomically

DEFAULT_MAX_BYTES = 1 << 30
SUFFIX = ".table"


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

    def open(self, root: Digest) -> memoryview | None:
        """The copy, marked as used now; None if there is none."""
        path = self._path(root)
        data = map_file(path)
        if data is not None:
            with suppress(OSError):
                os.utime(path)
        return data

    def keep(self, root: Digest, parts: Iterable[bytes | memoryview]) -> memoryview:
        """Makes the copy and maps it, whatever its size; others go for it. Raises what `parts` raises; then there is no copy."""
        path = self._path(root)
        write_atomically(path, parts, mode=0o600)
        data = map_file(path)
        self._evict(path)
        return memoryview(b"") if data is None else data

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
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PermanentError(f"cannot read {path}: {error.strerror}", code="Store") from None
    try:
        return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ)) if os.fstat(fd).st_size else memoryview(b"")
    finally:
        os.close(fd)
