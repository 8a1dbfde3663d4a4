"""Directories of a tree → encoded records, for a directory that somebody may be writing to while we read.

1. Every name is opened relative to its directory's handle, never through a symlink, and only then looked at (O_PATH, fstat).
2. Only a regular file is opened for reading, and through the handle that was looked at: no FIFO, no device, no other file.
3. A directory is reached again part by part from the root, so that any number of them takes a handful of handles.
4. Holes of a large sparse file are hashed without being read (lseek(2), SEEK_DATA); a file that changes under the hash is read once more.

In: paths of directories below a root. Out: a `Batch`, of bytes only, so that it can come out of another process. What is mounted below is
not entered. Never writes.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

from intact.model.digest import Algorithms
from intact.model.encoding import MAX_PATH_BYTES, encode_file, encode_record, encode_values
from intact.model.entry import Entry, Kind, is_compared_xattr
from intact.model.hashing import Hasher, choose_hasher
from intact.model.layer import Record

BUFFER_BYTES = 256 << 10
BATCH_ENTRIES = 512
BATCH_BYTES = 32 << 20
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


@dataclass(slots=True)
class Batch:
    """What was read: `records` encoded, `rest` the directories found and not read, `unreadable` paths with the reason."""

    records: list[bytes] = field(default_factory=list)
    rest: list[bytes] = field(default_factory=list)
    unreadable: list[tuple[bytes, str]] = field(default_factory=list)
    bytes_hashed: int = 0


class DirectoryReader:
    """Reads below the directory that `root` is a handle of; the handle stays the caller's."""

    def __init__(self, root: int, algorithms: Algorithms) -> None:
        self._root = root
        self._device = os.fstat(root).st_dev
        self._algorithms = algorithms
        self._make_hasher = choose_hasher(algorithms)
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._handles = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._handles)

    def read_root(self) -> bytes:
        """The record of the root itself."""
        return _encode(self._root, b"/", os.fstat(self._root))

    def read(self, directories: list[bytes]) -> Batch:
        """What lies in `directories` (b"" is the root) and below, until it is worth handing over."""
        batch = Batch(rest=directories)
        while batch.rest and len(batch.records) < BATCH_ENTRIES and batch.bytes_hashed < BATCH_BYTES:
            where = batch.rest.pop()
            try:
                directory = self._reopen(where)
            except OSError as error:
                batch.unreadable.append((where or b"/", error.strerror or "cannot be opened"))
                continue
            try:
                self._list(directory, where + b"/", batch)
            finally:
                os.close(directory)
        return batch

    def _list(self, directory: int, prefix: bytes, batch: Batch) -> None:
        for name in os.listdir(directory):
            path = prefix + os.fsencode(name)
            if len(path) > MAX_PATH_BYTES:
                batch.unreadable.append((path, f"its path has more than {MAX_PATH_BYTES} bytes"))
                continue
            try:
                handle = os.open(name, _PATH_FLAGS, dir_fd=directory)  # 1
            except FileNotFoundError:
                continue  # gone since it was listed, or a whiteout that overlayfs lists and does not have
            except OSError as error:
                batch.unreadable.append((path, error.strerror or "cannot be opened"))
                continue
            try:
                info = os.fstat(handle)
                if stat.S_ISREG(info.st_mode):
                    self._read_file(handle, path, info, batch)
                else:
                    batch.records.append(_encode(handle, path, info))
                    if stat.S_ISDIR(info.st_mode) and info.st_dev == self._device:
                        batch.rest.append(path)
            except OSError as error:
                batch.unreadable.append((path, error.strerror or "cannot be read"))
            finally:
                os.close(handle)
            if len(batch.records) > MAX_ENTRIES:
                return

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

    def _read_file(self, handle: int, path: bytes, before: os.stat_result, batch: Batch) -> None:
        """A regular file with its digests (2, 4)."""
        fd = os.open(b"%d" % handle, _READ_FLAGS, dir_fd=self._handles)
        try:
            for _ in range(ATTEMPTS):
                hasher, size = self._hash(fd, before.st_size)
                after = os.fstat(fd)
                if size == after.st_size and before.st_ctime_ns == after.st_ctime_ns:
                    digests = encode_values(self._algorithms, hasher.digest())
                    mode = stat.S_IMODE(after.st_mode)
                    batch.records.append(encode_file(path, mode, after.st_uid, after.st_gid, size, digests, _xattrs(fd)))
                    batch.bytes_hashed += size
                    return
                os.lseek(fd, 0, os.SEEK_SET)
                before = after
            batch.unreadable.append((path, "it changes while it is read"))
        finally:
            os.close(fd)

    def _hash(self, fd: int, size: int) -> tuple[Hasher, int]:
        """A hasher that has seen the content, holes as zeros, and the content's length."""
        buffer = self._buffer
        read = os.readv(fd, (buffer,))
        hasher = self._make_hasher(buffer[:read])
        if read == size and read < BUFFER_BYTES:
            return hasher, read
        total = read
        while total < size:
            end = _skip_hole(fd, hasher, total, size)
            if end > total:
                total = end
                continue
            read = os.readv(fd, (buffer,))
            if read == 0:
                break
            hasher.update(buffer[:read])
            total += read
        return hasher, total


def _skip_hole(fd: int, hasher: Hasher, at: int, size: int) -> int:
    """Hashes the hole at `at`, if one begins there, and moves behind it; where that is."""
    try:
        end = min(os.lseek(fd, at, os.SEEK_DATA), size)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        end = size
    os.lseek(fd, end, os.SEEK_SET)
    for start in range(at, end, BUFFER_BYTES):
        hasher.update(_ZEROS[: min(BUFFER_BYTES, end - start)])
    return end


def _encode(handle: int, path: bytes, info: os.stat_result) -> bytes:
    """The record of anything but a regular file."""
    kind = _KINDS[stat.S_IFMT(info.st_mode)]
    entry = Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        target=os.fsencode(os.readlink("", dir_fd=handle)) if kind is Kind.SYMLINK else b"",
        device=(os.major(info.st_rdev), os.minor(info.st_rdev)) if kind in (Kind.CHAR, Kind.BLOCK) else None,
        xattrs=_xattrs(f"/proc/self/fd/{handle}"),  # leads to the object itself
    )
    return encode_record(Record(path=path, entry=entry))


def _xattrs(where: int | str) -> tuple[tuple[bytes, bytes], ...]:
    """The compared extended attributes."""
    try:
        names = os.listxattr(where)
        if not names:
            return ()
        compared = filter(is_compared_xattr, map(os.fsencode, names))
        return tuple(sorted((name, os.getxattr(where, name)) for name in compared))
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.ELOOP):
            return ()
        raise
