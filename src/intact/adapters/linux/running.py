"""What one process runs: its program, what it maps to execute, and the view of files that it has.

In: a pid, and the overlay of its container. Out: `Seen`, or None for a process that is gone, all its threads. Reads
/proc/PID/{stat,exe,root,ns,maps} and nothing else: what a process calls itself does not count. Files are looked at through the kernel's own
links (exe, map_files), so that no path of the container is ever resolved; only those on the overlay, in memory, or on a file system that
cannot keep a reader waiting are opened, each as a regular file without blocking.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from intact.model.digest import SHA256, Digest
from intact.observe.ports import Content

from . import syscalls
from .known import KnownFiles, identify
from .links import read_link
from .threads import find_thread

MAPS_BYTES = 4 << 20
MAX_MAPPED = 4096
"""Different files that one process maps to execute; more are counted."""
HASHED_BYTES = 256 << 20
HASHED_IN_A_SWEEP_BYTES = 512 << 20
_KEPT_HASHES = 512
_DELETED = b" (deleted)"
_EXECUTABLE = re.compile(rb"^([0-9a-f]+-[0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) ([0-9]+) +(/[^\n]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that is executed or mapped so. `link` is the kernel's link to it, `path` what that says; `device` its st_dev."""

    link: bytes
    path: bytes
    device: int

    @property
    def is_unlinked(self) -> bool:
        """Whether the kernel says that no name leads to it; a name may itself end so."""
        return self.path.endswith(_DELETED)

    @property
    def name(self) -> bytes:
        return self.path.removesuffix(_DELETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """`mapped` without the program itself; `left_out` says what a bound left out. Namespaces are told apart by the kernel's own names.
    `thread`: the one whose view of files this is, of as many as `threads`."""

    pid: int
    parent_pid: int
    started_ticks: int
    program: File
    mapped: tuple[File, ...]
    mount_namespace: str
    user_namespace: str
    root: bytes
    root_device: int
    thread: int
    threads: int = 1
    left_out: str = ""


def read_process(pid: int, overlay_device: int) -> Seen | None:
    """Raises OSError where the process is there and cannot be looked at, `threads.Headless` where none of its threads could be."""
    whole = b"/proc/%d/" % pid
    try:
        parent, started, threads = _read_stat(whole)
        thread = find_thread(pid)
        if thread is None:
            return None
        base = b"/proc/%d/" % thread
        program = File(link=base + b"exe", path=read_link(base + b"exe"), device=syscalls.device_of(base + b"exe"))
        mounts, users = os.readlink(base + b"ns/mnt"), os.readlink(base + b"ns/user")
        root, root_device = read_link(base + b"root"), syscalls.device_of(base + b"root")
        mapped, left_out = _read_maps(base, overlay_device, program)
        if _read_stat(whole)[1] != started:
            return None
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return None
    return Seen(
        pid=pid,
        parent_pid=parent,
        started_ticks=started,
        program=program,
        mapped=mapped,
        mount_namespace=os.fsdecode(mounts),
        user_namespace=os.fsdecode(users),
        root=root,
        root_device=root_device,
        thread=thread,
        threads=threads,
        left_out=left_out,
    )


def read_threads(seen: Seen, chosen: Iterable[int]) -> Iterator[Seen]:
    """The process as its `chosen` threads have it, where one has another mount namespace or root than `seen` (unshare(2), CLONE_FS)."""
    for thread in chosen:
        base = b"/proc/%d/task/%d/" % (seen.pid, thread)
        try:
            mounts, root = os.fsdecode(os.readlink(base + b"ns/mnt")), read_link(base + b"root")
            if (mounts, root) != (seen.mount_namespace, seen.root):
                yield replace(seen, mount_namespace=mounts, root=root, root_device=syscalls.device_of(base + b"root"), thread=thread)
        except OSError:
            continue  # it has ended


def _read_stat(base: bytes) -> tuple[int, int, int]:
    """(ppid, starttime, num_threads); the name in parentheses may itself hold parentheses and spaces (proc_pid_stat(5))."""
    fields = _read(base + b"stat", 4096).rpartition(b")")[2].split()
    return int(fields[1]), int(fields[19]), int(fields[17])


def _read_maps(base: bytes, overlay_device: int, program: File) -> tuple[tuple[File, ...], str]:
    data = _read(base + b"maps", MAPS_BYTES)
    found: dict[tuple[bytes, bytes, bytes, bytes], bytes] = {}
    for where, major, minor, inode, path in _EXECUTABLE.findall(data):
        found.setdefault((major, minor, inode, path), where)
    left_out = "more mapped than one look reads" if len(data) >= MAPS_BYTES or len(found) > MAX_MAPPED else ""
    files = []
    for (major, minor, _, path), where in list(found.items())[:MAX_MAPPED]:
        link = base + b"map_files/" + _plain_range(where)
        if b"\\012" in path:
            path = _or(path, link)
        device = os.makedev(int(major, 16), int(minor, 16))
        if device != overlay_device:  # before Linux 6.8 it is that of the layer's own file system
            try:
                device = syscalls.device_of(link)
            except FileNotFoundError:
                continue  # unmapped meanwhile
        if (path, device) != (program.path, program.device):
            files.append(File(link=link, path=path, device=device))
    return tuple(files), left_out


def _plain_range(where: bytes) -> bytes:
    """map_files has no leading zeros (proc_pid_map_files(5))."""
    return b"-".join(b"%x" % int(end, 16) for end in where.split(b"-"))


def _or(path: bytes, link: bytes) -> bytes:
    try:
        return read_link(link)
    except OSError:
        return path


def _read(path: bytes, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts, size = [], 0
        while size < limit and (part := os.read(descriptor, min(1 << 18, limit - size))):
            parts.append(part)
            size += len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """What was read of a running file; `digest` is None where it is larger than what may be read."""

    size_bytes: int
    mode: int
    is_elf: bool
    digest: Digest | None


@dataclass(slots=True)
class RunningFiles:
    """Reads running files through their links, and remembers their digests."""

    _known: KnownFiles = field(default_factory=lambda: KnownFiles(_KEPT_HASHES))
    _left_bytes: int = HASHED_IN_A_SWEEP_BYTES

    def begin(self) -> None:
        """A new sweep has its own budget."""
        self._left_bytes = HASHED_IN_A_SWEEP_BYTES

    def read(self, file: File, *, with_digest: bool = True) -> Bytes | None:
        """None where it is gone, no regular file, or held by a lease. The caller has made sure that its file system is safe to read."""
        try:
            held = os.open(file.link, os.O_PATH | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(held).st_mode):
                    return None
                descriptor = os.open(b"/proc/self/fd/%d" % held, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            finally:
                os.close(held)
        except OSError:
            return None
        try:
            about = os.fstat(descriptor)
            head = os.pread(descriptor, 4, 0)
            digest = self._digest(descriptor, about) if with_digest else None
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return Bytes(size_bytes=about.st_size, mode=stat.S_IMODE(about.st_mode), is_elf=head == b"\x7fELF", digest=digest)

    def _digest(self, descriptor: int, about: os.stat_result) -> Digest | None:
        identity = identify(about)
        if held := self._known.content(identity, SHA256):
            return held.digest
        if about.st_size > min(HASHED_BYTES, self._left_bytes):
            return None
        self._left_bytes -= about.st_size
        with contextlib.suppress(OSError):
            syscalls.settle(descriptor)
        hasher, offset = hashlib.sha256(), 0
        while offset < about.st_size and (part := os.pread(descriptor, 1 << 20, offset)):
            hasher.update(part)
            offset += len(part)
        digest = Digest(algorithm="sha256", value=hasher.digest())
        self._known.keep_content(identity, SHA256, Content(digest))
        return digest
