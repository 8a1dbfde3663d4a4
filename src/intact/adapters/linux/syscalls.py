"""The Linux calls that Python lacks: fanotify, file handles, detached mounts, openat2, statx, sync_file_range.

In: descriptors, bytes and flags. Out: descriptors and bytes, or OSError. Never decides anything, and is the only module that uses ctypes.
Numbers are those of the kernel's own tables (arch/*/entry/syscalls); a machine that is neither x86_64 nor aarch64 is refused.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass

from intact.model.errors import PermanentError

_NUMBERS = {
    "x86_64": {"fanotify_init": 300, "fanotify_mark": 301, "name_to_handle_at": 303, "sync_file_range": 277,
               "statx": 332, "perf_event_open": 298, "fstatfs": 138},
    "aarch64": {"fanotify_init": 262, "fanotify_mark": 263, "name_to_handle_at": 264, "sync_file_range": 84,
                "statx": 291, "perf_event_open": 241, "fstatfs": 44},
}  # fmt: skip
_SAME_EVERYWHERE = {"open_tree": 428, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "openat2": 437, "mount_setattr": 442}
_HERE = {**_NUMBERS[platform.machine()], **_SAME_EVERYWHERE} if platform.machine() in _NUMBERS else {}

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
_AT_NO_AUTOMOUNT = 0x800
_AT_STATX_DONT_SYNC = 0x4000
_STATX_NLINK, _STATX_MNT_ID = 0x4, 0x1000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_OPEN_TREE_CLONE = 1
_MOUNT_ATTRIBUTES = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x200000
"""Read-only, nosuid, nodev, noexec, noatime, nosymfollow (mount_setattr(2))."""
_MOUNT_ATTR_ATIME = 0x70
_SYNC_WAIT_WRITE_WAIT = 7
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_HANDLE_BYTES = 128
_IN_MEMORY = (0x01021994, 0x858458F6)
"""TMPFS_MAGIC and RAMFS_MAGIC (linux/magic.h)."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.open_by_handle_at.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int)


def _call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    number = _HERE.get(name)
    if number is None:
        machine = platform.machine()
        raise PermanentError(f"no system call numbers for {machine}", code="UnsupportedMachine", hint="run on x86_64 or aarch64")
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def fanotify_init(flags: int, event_flags: int = os.O_RDONLY | os.O_CLOEXEC) -> int:
    """A notification group (fanotify_init(2))."""
    return _call("fanotify_init", flags, event_flags)


def fanotify_mark(group: int, flags: int, mask: int, directory: int) -> None:
    """Marks what the open descriptor `directory` stands on (fanotify_mark(2))."""
    _call("fanotify_mark", group, flags, mask, directory, 0)


def perf_event_open(attributes: bytes, pid: int, processor: int, flags: int) -> int:
    """A performance counter that is a member of no group (perf_event_open(2))."""
    return _call("perf_event_open", attributes, pid, processor, -1, flags)


def name_to_handle(directory: int, name: bytes = b"") -> bytes:
    """The file handle of `name`, or of the descriptor itself: type (4 bytes) and value, as `open_by_handle` takes it."""
    buffer = ctypes.create_string_buffer(8 + _HANDLE_BYTES)
    struct.pack_into("<I", buffer, 0, _HANDLE_BYTES)
    mount_id = ctypes.create_string_buffer(8)
    _call("name_to_handle_at", directory, name, buffer, mount_id, 0 if name else AT_EMPTY_PATH)
    size = struct.unpack_from("<I", buffer, 0)[0]
    return buffer.raw[4 : 8 + size]


def open_by_handle(mount: int, handle: bytes, flags: int) -> int:
    """Opens what `handle` names on the file system of `mount`; ESTALE when it is gone. Needs CAP_DAC_READ_SEARCH."""
    opened: int = _libc.open_by_handle_at(mount, struct.pack("<I", len(handle) - 4) + handle, flags | os.O_CLOEXEC)
    if opened < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"open_by_handle_at: {os.strerror(error)}")
    return opened


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Opens `path` with the resolution limits `resolve` (openat2(2))."""
    how = struct.pack("<QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _call("openat2", directory, path, how, len(how))


def detach_view(directory: int) -> int:
    """A detached, read-only, nodev, nosymfollow mount of `directory` without the mounts below it; it ends with its descriptor."""
    view = _call("open_tree", directory, b"", _OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH)
    try:
        attributes = struct.pack("<QQQQ", _MOUNT_ATTRIBUTES, _MOUNT_ATTR_ATIME, 0, 0)
        _call("mount_setattr", view, b"", AT_EMPTY_PATH, attributes, len(attributes))
    except OSError:
        os.close(view)
        raise
    return view


def mount_detached(kind: bytes, options: tuple[tuple[bytes, bytes | None], ...]) -> int:
    """A new mount of file system `kind` that is attached nowhere and ends with its descriptor (fsopen(2), fsmount(2))."""
    context = _call("fsopen", kind, 1)
    try:
        for key, value in options:
            _call("fsconfig", context, _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING, key, value or 0, 0)
        _call("fsconfig", context, _FSCONFIG_CMD_CREATE, 0, 0, 0)
        return _call("fsmount", context, 1, 0)
    finally:
        os.close(context)


def is_in_memory(descriptor: int) -> bool:
    """Whether a file lies on tmpfs or ramfs (fstatfs(2)), where a store through a mapping changes no time at all."""
    buffer = ctypes.create_string_buffer(256)
    _call("fstatfs", descriptor, buffer)
    kind: int = struct.unpack_from("=q", buffer)[0]
    return kind in _IN_MEMORY


def settle(descriptor: int) -> None:
    """Writes a file's dirty pages back, so that the next store through a mapping faults and moves its ctime (sync_file_range(2))."""
    _call("sync_file_range", descriptor, 0, 0, _SYNC_WAIT_WRITE_WAIT)


@dataclass(frozen=True, slots=True)
class Opened:
    """What an open descriptor stands on: st_dev, the id of the mount it was opened through, and the number of the file's names."""

    device: int
    mount_id: int
    links: int


def describe_open(descriptor: int) -> Opened:
    """Asks nothing of a file but its inode (statx(2), STATX_MNT_ID: since Linux 5.8)."""
    buffer = ctypes.create_string_buffer(256)
    _call("statx", descriptor, b"", AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, _STATX_NLINK | _STATX_MNT_ID, buffer)
    (links,) = struct.unpack_from("<I", buffer, 16)
    major, minor, mount_id = struct.unpack_from("<IIQ", buffer, 136)
    return Opened(os.makedev(major, minor), mount_id, links)


def device_of(path: bytes) -> int:
    """The st_dev of `path`, links followed, without asking a remote or FUSE server (statx(2), AT_STATX_DONT_SYNC)."""
    buffer = ctypes.create_string_buffer(256)
    _call("statx", AT_FDCWD, path, _AT_STATX_DONT_SYNC | _AT_NO_AUTOMOUNT, 0, buffer)
    major, minor = struct.unpack_from("<II", buffer, 136)
    return os.makedev(major, minor)
