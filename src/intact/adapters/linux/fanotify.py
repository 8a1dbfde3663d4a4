"""The events of whole file systems: one fanotify group a node, and what its events say (fanotify(7)).

In: directories on the file systems to hear of. Out: events: mask, pid, and the handles and name of what was touched. Never decides what an
event means, never answers permission events (it asks for none), never keeps a descriptor of anything it hears of.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from . import syscalls

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
OPEN_EXEC = 0x1000
Q_OVERFLOW, ON_DIRECTORY = 0x4000, 0x40000000
ENTRIES = MOVED_FROM | MOVED_TO | CREATE | DELETE
WRITES = MODIFY | CLOSE_WRITE | ATTRIB
HEARD = WRITES | ENTRIES | OPEN_EXEC | ON_DIRECTORY

_INIT = 0x1 | 0x2 | 0x200 | 0x400 | 0x800
"""CLOEXEC, NONBLOCK, REPORT_FID, REPORT_DIR_FID, REPORT_NAME; the queue keeps the kernel's bound."""
_REPORT_TARGET_FID = 0x1000
"""What is made or moved is told with its own handle, too (since Linux 5.17)."""
_MARK_ADD_FILESYSTEM = 0x1 | 0x100
_BUFFER_BYTES = 1 << 18
_BUFFERS_AT_ONCE = 16
_EVENT = struct.Struct("<IBBHQii")
_INFO = struct.Struct("<BBH")
_FID, _DFID_NAME, _DFID = 1, 2, 3


class Event(NamedTuple):
    """One event. `directory` and `child` are file handles as `syscalls.open_by_handle` takes them, on the file system `fsid`."""

    mask: int
    pid: int
    fsid: bytes
    directory: bytes | None
    name: bytes
    child: bytes | None


class Group:
    """A notification group with one mark a file system. Marks hold no mount and no directory: what they watch can go away."""

    def __init__(self) -> None:
        """Raises OSError: EPERM without CAP_SYS_ADMIN, EMFILE when too many groups exist, EINVAL before Linux 5.9."""
        try:
            self.descriptor = syscalls.fanotify_init(_INIT | _REPORT_TARGET_FID)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.descriptor = syscalls.fanotify_init(_INIT)
        self._mounts: dict[bytes, dict[int, int]] = {}

    def close(self) -> None:
        os.close(self.descriptor)
        for mounts in self._mounts.values():
            for mount in mounts.values():
                os.close(mount)

    def hear(self, directory: bytes) -> None:
        """Marks the file system that holds `directory`, once, and keeps the mount through which `directory` is seen. Raises OSError."""
        fsid = (os.statvfs(directory).f_fsid & (1 << 64) - 1).to_bytes(8, "little")
        mount = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mount_id = _mount_id(mount)
            if mount_id in self._mounts.get(fsid, ()):
                os.close(mount)
                return
            if fsid not in self._mounts:
                syscalls.fanotify_mark(self.descriptor, _MARK_ADD_FILESYSTEM, HEARD, mount)
        except OSError:
            os.close(mount)
            raise
        self._mounts.setdefault(fsid, {})[mount_id] = mount

    def read_buffers(self) -> Iterator[bytes]:
        """What is queued now, as `parse_events` takes it; more than the kernel holds at once only if it goes on meanwhile, and bounded."""
        for _ in range(_BUFFERS_AT_ONCE):
            try:
                yield os.read(self.descriptor, _BUFFER_BYTES)
            except BlockingIOError:
                return

    def read(self) -> Iterator[Event]:
        """The same, parsed."""
        for buffer in self.read_buffers():
            yield from parse_events(buffer)

    def mounts(self, event: Event) -> tuple[int, ...]:
        """The mounts of the event's file system, the latest first. A handle opens through any of them, but only the mount that shows a
        watched directory gives paths that begin with that directory's: in a container, each host path is a mount of its own."""
        return tuple(reversed(self._mounts.get(event.fsid, {}).values()))


def _mount_id(descriptor: int) -> int:
    """The id of the mount (proc_pid_fdinfo(5)), which tells two views of one file system apart."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as about:
        return next(int(line.split()[1]) for line in about if line.startswith(b"mnt_id:"))


def parse_events(buffer: bytes) -> Iterator[Event]:
    """The events in one read of the group (fanotify(7), "Reading fanotify events")."""
    offset = 0
    while offset + _EVENT.size <= len(buffer):
        size, _, _, header, mask, _, pid = _EVENT.unpack_from(buffer, offset)
        fsid, directory, name, child = b"", None, b"", None
        at, end = offset + header, offset + size
        while at + _INFO.size <= end:
            kind, _, length = _INFO.unpack_from(buffer, at)
            if kind in (_FID, _DFID_NAME, _DFID):
                fsid = buffer[at + 4 : at + 12]
                handle_size = struct.unpack_from("<I", buffer, at + 12)[0]
                stop = at + 20 + handle_size
                handle = buffer[at + 16 : stop]
                if kind == _FID:
                    child = handle
                else:
                    directory = handle
                    name = buffer[stop : at + length].split(b"\0", 1)[0] if kind == _DFID_NAME else b""
            at += max(length, _INFO.size)
        yield Event(mask, pid, fsid, directory, name, child)
        offset += max(size, _EVENT.size)


def count_events(buffer: bytes) -> int:
    """How many events one read of the group holds."""
    offset = count = 0
    while offset + _EVENT.size <= len(buffer):
        offset += max(_EVENT.unpack_from(buffer, offset)[0], _EVENT.size)
        count += 1
    return count
