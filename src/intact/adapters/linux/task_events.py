"""What the kernel notes of all processes while it happens (perf_event_open(2)): their beginnings and ends, what they execute and map to
execute, and which mount namespaces they join.

In: nothing. Out: records in order of time. Nothing is sampled and nothing is stopped: one software counter a processor that counts nothing
and whose ring takes the kernel's notes on tasks. Needs CAP_SYS_ADMIN (or CAP_PERFMON). Never says that it heard everything when it did not.

1. One ring a processor; the rings together take at most `RINGS_BYTES`.
2. What is noted is read up to a moment: all rings until then, sorted. What is later waits.
3. A full ring drops its newest notes and says so; so does a processor that was added or taken away.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from . import syscalls
from .links import TOO_LONG
from .processes import now_ns

RINGS_BYTES = 1 << 20
_PAGE = mmap.PAGESIZE
_ONLINE = Path("/sys/devices/system/cpu/online")
_CLOEXEC = 8
_SOFTWARE, _DUMMY, _SAMPLE_TIME = 1, 9, 4
_MMAP, _COMM, _TASK, _WATERMARK, _SAMPLE_ID_ALL, _MMAP2, _COMM_EXEC = 1 << 8, 1 << 9, 1 << 13, 1 << 14, 1 << 18, 1 << 23, 1 << 24
_CLOCK, _NAMESPACES = 1 << 25, 1 << 28
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQQQQIi")
_ATTRIBUTES_BYTES = 112
_HEADER = struct.Struct("=IHH")
_TASKS = struct.Struct("=IIIIQ")
_TIME = struct.Struct("=Q")
_PID = struct.Struct("=I")
_FILE = struct.Struct("=IIQQ")
_TWO = struct.Struct("=II")
_FLAGS_AT, _PATH_AT, _INODE_AT, _INODE_END = 68, 72, 40, 64
_MOUNTS_AT = 8 + 16 + 5 * 16 + 8
"""Where the mount namespace's inode is in a note on namespaces: MNT_NS_INDEX is 5 (perf_event.h)."""
_MAP_PRIVATE = 2
_UNWRITTEN = b"//toolong"
"""What is noted of a file whose path is longer than what the kernel writes: no device and no inode either (perf_event_mmap_event)."""
_IS_EXECUTION = 1 << 13
_HEAD, _TAIL = 1024 // 8, 1032 // 8
_LOOK_EVERY_NS = 10**9


LOST, NAMED, ENDED, FORKED, MAPPED, JOINED = 2, 3, 4, 7, 10, 16
"""Types of records (enum perf_event_type): MMAP2 and NAMESPACES are the last two."""

Record: TypeAlias = tuple[int, int, int, int, bytes, bytes]
"""(when, type, pid, number, text, file). Sorts by time; thousands a second, so a plain tuple. The number is the parent's pid of who was
forked, 1 for what was mapped for the process alone (MAP_PRIVATE), the inode of the mount namespace that was joined; the text is the name of
what was executed, the path of what was mapped, the id of a further thread that began, joined or ended. `parse_file` reads the file."""


@dataclass(slots=True)
class TaskEvents:
    """Listens from the moment it is made. Raises OSError where the kernel does not let it."""

    _rings: list[_Ring] = field(default_factory=list)
    _waiting: list[Record] = field(default_factory=list)
    _processors: str = ""
    _looked_ns: int = 0

    def __post_init__(self) -> None:
        self._processors = _ONLINE.read_text()
        numbers = _parse_list(self._processors)
        pages = 1 << max(1, min(5, (RINGS_BYTES // _PAGE // len(numbers)).bit_length() - 1))
        try:
            for number in numbers:
                self._rings.append(_Ring(number, pages))
        except (OSError, ValueError):
            self.close()
            raise

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Ready to be read when a ring is half full."""
        return tuple(ring.descriptor for ring in self._rings)

    def close(self) -> None:
        for ring in self._rings:
            ring.close()
        self._rings.clear()

    def read(self) -> tuple[int, list[Record], bool]:
        """2, 3. (until when, what was noted until then, whether something was lost)."""
        until_ns = now_ns()
        records, lost = self._waiting, self._has_other_processors(until_ns)
        for ring in self._rings:
            lost |= ring.read(records)
        records.sort()
        later = len(records)
        while later and records[later - 1][0] > until_ns:
            later -= 1
        self._waiting = records[later:]
        del records[later:]
        return until_ns, records, lost

    def _has_other_processors(self, at_ns: int) -> bool:
        if at_ns - self._looked_ns < _LOOK_EVERY_NS:
            return False
        self._looked_ns = at_ns
        return _ONLINE.read_text() != self._processors


class _Ring:
    """One processor's notes."""

    def __init__(self, processor: int, pages: int) -> None:
        size = pages * _PAGE
        flags = _MMAP | _COMM | _TASK | _WATERMARK | _SAMPLE_ID_ALL | _MMAP2 | _COMM_EXEC | _CLOCK | _NAMESPACES
        attributes = _ATTRIBUTES.pack(
            _SOFTWARE, _ATTRIBUTES_BYTES, _DUMMY, 0, _SAMPLE_TIME, 0, flags, size // 2, 0, 0, 0, 0, 0, 0, time.CLOCK_BOOTTIME
        )
        self.descriptor = syscalls.perf_event_open(attributes.ljust(_ATTRIBUTES_BYTES, b"\0"), -1, processor, _CLOEXEC)
        try:
            self._map = mmap.mmap(self.descriptor, _PAGE + size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            os.close(self.descriptor)
            raise
        self._all = memoryview(self._map)
        self._numbers = self._all[:_PAGE].cast("Q")  # read and written in one go, as the kernel does
        self._data, self._size = self._all[_PAGE:], size

    def close(self) -> None:
        for view in (self._data, self._numbers, self._all):
            view.release()
        self._map.close()
        os.close(self.descriptor)

    def read(self, records: list[Record]) -> bool:
        """Adds what is there; whether something was lost."""
        head, tail = self._numbers[_HEAD], self._numbers[_TAIL]
        if head == tail:
            return False
        time.sleep(0)  # a system call: nothing below is read before the head was
        start, length = tail % self._size, head - tail
        noted = bytes(self._data[start : start + length])
        if len(noted) < length:
            noted += bytes(self._data[: length - len(noted)])
        self._numbers[_TAIL] = head
        return _parse(noted, records)


def _parse(noted: bytes, records: list[Record]) -> bool:
    lost, offset, end_of_all = False, 0, len(noted)
    while offset < end_of_all:
        kind, misc, size = _HEADER.unpack_from(noted, offset)
        end = offset + size
        if kind == MAPPED:
            path = noted[offset + _PATH_AT : end - 8].split(b"\0", 1)[0]
            if path == _UNWRITTEN:
                path = TOO_LONG
            if path[:1] == b"/" != path[1:2]:  # `//anon` is memory that belongs to no file
                is_private = _PID.unpack_from(noted, offset + _FLAGS_AT)[0] & _MAP_PRIVATE
                file = noted[offset + _INODE_AT : offset + _INODE_END]
                at_ns, pid = _TIME.unpack_from(noted, end - 8)[0], _PID.unpack_from(noted, offset + 8)[0]
                records.append((at_ns, MAPPED, pid, is_private and 1, path, file))
        elif kind in (FORKED, ENDED):
            pid, parent, thread, _, at_ns = _TASKS.unpack_from(noted, offset + 8)
            if pid:
                records.append((at_ns, kind, pid, parent, b"" if pid == thread else b"%d" % thread, b""))
        elif kind == NAMED:
            if misc & _IS_EXECUTION:
                name = noted[offset + 16 : end - 8].split(b"\0", 1)[0]
                records.append((_TIME.unpack_from(noted, end - 8)[0], NAMED, _PID.unpack_from(noted, offset + 8)[0], 0, name, b""))
        elif kind == JOINED:
            pid, thread = _TWO.unpack_from(noted, offset + 8)
            mounts = _TIME.unpack_from(noted, offset + _MOUNTS_AT)[0]
            records.append((_TIME.unpack_from(noted, end - 8)[0], JOINED, pid, mounts, b"" if pid == thread else b"%d" % thread, b""))
        elif kind == LOST:
            lost = True
        if size < _HEADER.size:
            return True
        offset = end
    return lost


def parse_file(file: bytes) -> tuple[int, int]:
    """(st_dev of the file system, inode) of what was mapped."""
    major, minor, inode, _ = _FILE.unpack(file)
    return os.makedev(major, minor), inode


def _parse_list(text: str) -> list[int]:
    """`0-3,8` → 0, 1, 2, 3, 8 (cpuset(7), List Format)."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
