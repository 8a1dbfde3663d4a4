"""`dir:PATH`: a file tree on disk → its entries, for a directory that somebody may be writing to while we read.

1. Every name is opened relative to its directory's handle, never through a symlink, and only then looked at (O_PATH, fstat).
2. Only a regular file is opened for reading, and through the handle that was looked at: no FIFO, no device, no other file.
3. A directory is reached again part by part from the root, so that any number of them takes a handful of handles.
4. Holes of a sparse file are hashed without being read (lseek(2), SEEK_DATA); a file that changes under the hash is read once more.

In: a path. Out: entries, the directory's own at `/`, in no particular order. What is mounted below is not entered. Never writes. What
cannot be read is told to the caller, by default as InputError: a baseline with gaps is none.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NoReturn

from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.encoding import MAX_PATH_BYTES
from intact.model.entry import Entry, Kind, display_path, is_compared_xattr
from intact.model.errors import InputError
from intact.model.hashing import Hasher, choose_hasher, split_values

BUFFER_BYTES = 256 << 10
THREADS = 2
BATCH_FILES = 64
MAX_ENTRIES = 5_000_000
ATTEMPTS = 2
"""Times a file is read that changes while it is read."""

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}
_PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_ZEROS = memoryview(bytes(BUFFER_BYTES))

Unreadable = Callable[[bytes, str], None]
"""Told the path inside the tree and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """How far a walk is."""

    entries: int
    bytes_hashed: int


def walk_directory(
    path: str,
    *,
    algorithms: Algorithms = SHA256,
    unreadable: Unreadable | None = None,
    progress: Callable[[Walked], None] = lambda _: None,
) -> Iterator[Entry]:
    """The entries of the tree at `path`. Raises InputError if it is no directory; what cannot be read inside goes to `unreadable`."""

    def refuse(inside: bytes, reason: str) -> NoReturn:
        raise InputError(f"dir:{path}: {display_path(inside)}: {reason}", code="Unreadable", hint="root can read everything")

    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"dir:{path}: {error.strerror}", code="NoSuchImage") from None
    pool = ThreadPoolExecutor(THREADS, "hash")
    walk = _Walk(root, pool, algorithms, unreadable or refuse, progress)
    try:
        yield from walk.entries()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        walk.close()
        os.close(root)


class _Walk:
    def __init__(
        self, root: int, pool: ThreadPoolExecutor, algorithms: Algorithms, unreadable: Unreadable, progress: Callable[[Walked], None]
    ) -> None:
        self._root = root
        self._algorithms = algorithms
        self._device = os.fstat(root).st_dev
        self._pool = pool
        self._unreadable = unreadable
        self._progress = progress
        self._batch: list[tuple[int, bytes]] = []
        self._pending: deque[tuple[Future[list[Entry | tuple[bytes, str]]], list[tuple[int, bytes]]]] = deque()
        self._count = 0
        self._bytes = 0

    def entries(self) -> Iterator[Entry]:
        yield _describe(self._root, b"/", os.fstat(self._root))
        stack = [b""]
        while stack:
            where = stack.pop()
            try:
                directory = self._reopen(where)
            except OSError as error:
                self._unreadable(where or b"/", error.strerror or "cannot be opened")
                continue
            try:
                yield from self._list(directory, where, stack)
            finally:
                os.close(directory)
        self._submit()
        yield from self._collect(0)

    def close(self) -> None:
        for handle, _ in self._batch:
            os.close(handle)
        for _, batch in self._pending:
            for handle, _ in batch:
                os.close(handle)

    def _list(self, directory: int, where: bytes, stack: list[bytes]) -> Iterator[Entry]:
        for name in os.listdir(directory):
            path = where + b"/" + os.fsencode(name)
            self._count += 1
            if self._count > MAX_ENTRIES:
                raise InputError(f"the tree has more than {MAX_ENTRIES} entries", code="TooManyEntries")
            if len(path) > MAX_PATH_BYTES:
                self._unreadable(path, f"its path has more than {MAX_PATH_BYTES} bytes")
                continue
            try:
                handle = os.open(name, _PATH_FLAGS, dir_fd=directory)  # 1
            except FileNotFoundError:
                continue  # gone since it was listed, or a whiteout that overlayfs lists and does not have
            except OSError as error:
                self._unreadable(path, error.strerror or "cannot be opened")
                continue
            kept = False
            try:
                info = os.fstat(handle)
                if stat.S_ISREG(info.st_mode):
                    kept = True
                    self._batch.append((handle, path))
                else:
                    entry = _describe(handle, path, info)
                    if entry.kind is Kind.DIRECTORY and info.st_dev == self._device:
                        stack.append(path)
                    yield entry
            except OSError as error:
                self._unreadable(path, error.strerror or "cannot be read")
            finally:
                if not kept:
                    os.close(handle)
            if len(self._batch) >= BATCH_FILES:
                self._submit()
                yield from self._collect(2 * THREADS)

    def _reopen(self, where: bytes) -> int:
        """A handle of the directory, reached part by part without following a symlink (3)."""
        directory = os.open(".", _DIRECTORY_FLAGS, dir_fd=self._root)
        for part in where.split(b"/")[1:]:
            try:
                below = os.open(part, _DIRECTORY_FLAGS, dir_fd=directory)
            finally:
                os.close(directory)
            directory = below
        return directory

    def _submit(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._pending.append((self._pool.submit(_read_batch, batch, self._algorithms), batch))

    def _collect(self, leave: int) -> Iterator[Entry]:
        while len(self._pending) > leave:
            future, batch = self._pending[0]
            results = future.result()
            self._pending.popleft()
            for handle, _ in batch:
                os.close(handle)
            for result in results:
                if isinstance(result, Entry):
                    self._bytes += result.size_bytes
                    yield result
                else:
                    self._unreadable(*result)
            self._progress(Walked(entries=self._count, bytes_hashed=self._bytes))


_local = threading.local()


def _buffer() -> memoryview:
    """This thread's reading buffer: one for all its files."""
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(BUFFER_BYTES))
    buffer: memoryview = _local.buffer
    return buffer


def _read_batch(batch: list[tuple[int, bytes]], algorithms: Algorithms) -> list[Entry | tuple[bytes, str]]:
    buffer = _buffer()
    results: list[Entry | tuple[bytes, str]] = []
    for handle, path in batch:
        try:
            results.append(_read_file(handle, path, buffer, algorithms))
        except OSError as error:
            results.append((path, error.strerror or "cannot be read"))
    return results


def _read_file(handle: int, path: bytes, buffer: memoryview, algorithms: Algorithms) -> Entry | tuple[bytes, str]:
    """A regular file with its digest (2, 4)."""
    fd = os.open(f"/proc/self/fd/{handle}", _READ_FLAGS)
    try:
        for _ in range(ATTEMPTS):
            before = os.fstat(fd)
            digest, size = hash_file(fd, before, buffer, choose_hasher(algorithms)())
            after = os.fstat(fd)
            if size == before.st_size and (before.st_ctime_ns, before.st_size) == (after.st_ctime_ns, after.st_size):
                return _describe(fd, path, after, *split_values(algorithms, digest))
        return path, "it changes while it is read"
    finally:
        os.close(fd)


def hash_file(fd: int, info: os.stat_result, buffer: memoryview, hasher: Hasher) -> tuple[bytes, int]:
    """Digests and length of a file's content, holes as zeros."""
    if info.st_blocks * 512 < info.st_size:
        return _hash_sparse(fd, info.st_size, buffer, hasher)
    total = 0
    while (read := os.readv(fd, (buffer,))) > 0:
        hasher.update(buffer[:read])
        total += read
    os.lseek(fd, 0, os.SEEK_SET)
    return hasher.digest(), total


def _hash_sparse(fd: int, size: int, buffer: memoryview, hasher: Hasher) -> tuple[bytes, int]:
    at = 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size
        for _ in range(at, data, BUFFER_BYTES):
            part = min(BUFFER_BYTES, data - at)
            hasher.update(_ZEROS[:part])
            at += part
        end = os.lseek(fd, at, os.SEEK_HOLE) if at < size else size
        os.lseek(fd, at, os.SEEK_SET)
        while at < end:
            read = os.readv(fd, (buffer[: min(BUFFER_BYTES, end - at)],))
            if read == 0:
                return hasher.digest(), at
            hasher.update(buffer[:read])
            at += read
    os.lseek(fd, 0, os.SEEK_SET)
    return hasher.digest(), at


def _describe(handle: int, path: bytes, info: os.stat_result, digest: Digest | None = None, further: tuple[Digest, ...] = ()) -> Entry:
    kind = _KINDS[stat.S_IFMT(info.st_mode)]
    is_file = kind is Kind.FILE
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        size_bytes=info.st_size if is_file else 0,
        digest=digest,
        further=further,
        target=os.fsencode(os.readlink("", dir_fd=handle)) if kind is Kind.SYMLINK else b"",
        device=(os.major(info.st_rdev), os.minor(info.st_rdev)) if kind in (Kind.CHAR, Kind.BLOCK) else None,
        xattrs=_xattrs(handle),
    )


def _xattrs(handle: int) -> tuple[tuple[bytes, bytes], ...]:
    """The compared extended attributes, through the handle's entry in /proc, which leads to the object itself."""
    where = f"/proc/self/fd/{handle}"
    try:
        names = [name for name in map(os.fsencode, os.listxattr(where)) if is_compared_xattr(name)]
        return tuple(sorted((name, os.getxattr(where, name)) for name in names))
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.ELOOP):
            return ()
        raise
