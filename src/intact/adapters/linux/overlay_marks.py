"""Writes through overlays, where the disk below does not tell of them (Linux before 6.5): one mark for each container's overlay.

In: paths that lead to overlays' roots. Out: which overlay was written to, and where. The kernel hands over an open descriptor with each
event (fanotify(7)); it is closed at once, and only its inode and name are asked for: it is never read from.

1. One event is taken at a time: several at once would hide that the kernel could not open one of them.
2. What the kernel could not hand over (a lease in the way, no descriptor left) is a loss, and said: anything may have been written.
3. A path is believed only where it was seen through the container's own root mount; through any other mount it begins elsewhere.
   What leads to that mount (nothing, in a mount namespace of the container's own) is left out of it.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from dataclasses import dataclass

from . import fanotify, syscalls

_INIT = 0x1 | 0x2
"""CLOEXEC, NONBLOCK; of class NOTIF, with the kernel's bound on the queue."""
_REPORT_FD_ERROR = 0x2000
"""Since Linux 6.13: an event whose file cannot be opened is not lost, but carries the error."""
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_LARGEFILE", 0)
"""How the kernel opens what an event is about: a FIFO or a lease must not hold the reader."""
_MARK_ADD_FILESYSTEM = 0x1 | 0x100
_EVENT = struct.Struct("<IBBHQii")
_AT_ONCE = 4096
_UNLINKED = b" (deleted)"


@dataclass(frozen=True, slots=True)
class Written:
    """`path` is absolute in the overlay of st_dev `device`; None: somewhere in it. `pid` is who wrote."""

    device: int
    path: bytes | None
    pid: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Events the kernel dropped or could not hand over."""


class OverlayGroup:
    """A notification group with one mark an overlay. A mark holds no mount, and goes with its overlay."""

    def __init__(self) -> None:
        """Raises OSError: EPERM without CAP_SYS_ADMIN, EMFILE when too many groups exist."""
        try:
            self.descriptor = syscalls.fanotify_init(_INIT | _REPORT_FD_ERROR, _OPEN)
        except OSError:
            self.descriptor = syscalls.fanotify_init(_INIT, _OPEN)
        self._roots: dict[int, tuple[int, bytes] | None] = {}
        self._waiting = array.array("i", [0])

    def close(self) -> None:
        os.close(self.descriptor)

    def hear(self, root: bytes, device: int) -> None:
        """Marks the overlay whose root mount `root` leads to. Raises OSError, and ESTALE if that is not the overlay of st_dev `device`."""
        opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = syscalls.describe_open(opened)
            if found.device != device:
                raise OSError(errno.ESTALE, "its root is not its overlay")
            self._roots[device] = found.mount_id, (_read_path(opened) or b"/").rstrip(b"/")
            syscalls.fanotify_mark(self.descriptor, _MARK_ADD_FILESYSTEM, fanotify.MODIFY | fanotify.CLOSE_WRITE, opened)
        finally:
            os.close(opened)

    def forget(self, device: int) -> None:
        """What is still told of it belongs to nobody."""
        self._roots[device] = None

    def read(self) -> Iterator[Written | Lost]:
        """What is queued now, up to a bound."""
        for _ in range(_AT_ONCE):
            fcntl.ioctl(self.descriptor, termios.FIONREAD, self._waiting)
            if not self._waiting[0]:
                return
            try:
                event = os.read(self.descriptor, _EVENT.size)  # 1
            except OSError:  # 2
                yield Lost()
                continue
            _, _, _, _, _, opened, pid = _EVENT.unpack_from(event)
            if opened < 0:
                yield Lost()
            else:
                yield from self._describe(opened, pid)

    def _describe(self, opened: int, pid: int) -> Iterator[Written | Lost]:
        try:
            found = syscalls.describe_open(opened)
            if found.device not in self._roots:  # layers on several file systems: st_dev does not tell the overlay (overlayfs.rst)
                yield Lost()
                return
            root = self._roots[found.device]
            if root is None or found.links == 0:
                return
            path = None
            if found.mount_id == root[0] and found.links == 1:  # 3
                path = _read_path(opened)
                path = path[len(root[1]) :] if path is not None and path.startswith(root[1] + b"/") else None
            yield Written(found.device, path, pid)
        finally:
            os.close(opened)


def _read_path(opened: int) -> bytes | None:
    """None if the name it was opened by is gone, or too long for the kernel to write."""
    try:
        path = os.readlink(b"/proc/self/fd/%d" % opened)
    except OSError:
        return None
    return path if path.startswith(b"/") and not path.endswith(_UNLINKED) else None
