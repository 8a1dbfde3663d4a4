"""The mount tables of containers' first processes, and the bell that the kernel rings when one changes.

In: a container's first process. Out: what is mounted in its mount namespace now, and which containers' tables changed or ended. A table is
what the container shows of itself: it tells where something is mounted, never where anything of the host is. Holds one descriptor of the
table and one of the process (pidfd_open(2)) for each container; the table's keeps a mount namespace alive, so it is closed as the process
ends.
"""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from intact.model.live import MountSeen, Runner

from .threads import Headless, find_thread

MAX_BYTES = 8 << 20
"""Of one table; 100,000 mounts (fs.mount-max) of short names."""
MAX_MOUNTS = 20_000
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`is_whole`: no bound bit."""

    mounts: tuple[MountSeen, ...]
    is_whole: bool


class MountTables:
    """Tables by container id. `open`, `close` and `read` from any thread, `wait` from one."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, int]] = {}
        self._first: dict[str, dict[bytes, set[bytes]]] = {}
        self._whose: dict[int, str] = {}
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._woken, select.POLLIN)

    def open(self, container_id: str, init_pid: int) -> None:
        """Begins to listen. Raises OSError if the process is gone or its table may not be read, and `Headless` as `find_thread` does."""
        process = os.pidfd_open(init_pid)
        try:
            table = os.open(f"/proc/{find_thread(init_pid) or init_pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, Headless):
            os.close(process)
            raise
        first = _list_ids(table)
        with self._lock:
            self._open[container_id] = (table, process)
            self._first[container_id] = first
            self._whose[table] = self._whose[process] = container_id
            self._poll.register(table, select.POLLPRI)
            self._poll.register(process, select.POLLIN)
        self.wake()

    def close(self, container_id: str) -> None:
        with self._lock:
            self._first.pop(container_id, None)
            for descriptor in self._open.pop(container_id, ()):
                self._poll.unregister(descriptor)
                del self._whose[descriptor]
                os.close(descriptor)

    def close_all(self) -> None:
        for container_id in tuple(self._open):
            self.close(container_id)
        os.close(self._woken)
        os.close(self._waker)

    def wake(self) -> None:
        """Has `wait` return at once."""
        try:
            os.write(self._waker, b"x")
        except BlockingIOError:
            return  # it has been told often enough

    def read(self, container_id: str) -> Table | None:
        """The table now; None for a container that is not open."""
        with self._lock:
            opened = self._open.get(container_id)
            return None if opened is None else _read(opened[0], None, self._first[container_id])

    def wait(self, timeout_s: float) -> frozenset[str]:
        """The containers whose table changed before the time was over. Those whose process ended are closed, and not among them."""
        changed, ended = set(), []
        for descriptor, events in self._poll.poll(max(0.0, timeout_s) * 1000):
            if descriptor == self._woken:
                os.read(self._woken, 4096)
                continue
            with self._lock:
                container_id = self._whose.get(descriptor)
                if container_id is None:
                    continue
                if descriptor == self._open[container_id][1] or events & select.POLLNVAL:
                    ended.append(container_id)
                else:
                    changed.add(container_id)
        for container_id in ended:
            self.close(container_id)
        return frozenset(changed.difference(ended))


def read_private_table(runner: Runner, thread: int) -> Table:
    """The table of one `thread` of a process. Raises OSError."""
    descriptor = os.open(f"/proc/{runner.pid}/task/{thread}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(descriptor, runner)
    finally:
        os.close(descriptor)


def _read(descriptor: int, runner: Runner | None, first: Mapping[bytes, set[bytes]] = MappingProxyType({})) -> Table:
    data = _read_all(descriptor)
    mounts = parse_table(data, runner, first)
    return Table(mounts=mounts[:MAX_MOUNTS], is_whole=len(data) < MAX_BYTES and len(mounts) <= MAX_MOUNTS)


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts, size = [], 0
    while size < MAX_BYTES and (part := os.read(descriptor, 1 << 16)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _list_ids(descriptor: int) -> dict[bytes, set[bytes]]:
    """The ids of the mounts at each target: what is mounted anew gets another one, what is mounted otherwise keeps it."""
    ids: dict[bytes, set[bytes]] = {}
    for line in _read_all(descriptor).split(b"\n"):
        fields = line.split(b" ", 5)
        if len(fields) == 6:
            ids.setdefault(_unescape(fields[4]), set()).add(fields[0])
    return ids


def parse_table(
    data: bytes, runner: Runner | None = None, first: Mapping[bytes, set[bytes]] = MappingProxyType({})
) -> tuple[MountSeen, ...]:
    """Every line that has the documented shape, in its order; octal escapes undone after splitting. `first`: the ids of what was there at
    first, by target."""
    mounts = []
    for line in data.split(b"\n"):
        before, _, after = line.partition(b" - ")
        begin, last = before.split(b" "), after.split(b" ")
        if len(begin) < 6 or len(last) < 2:
            continue
        target = _unescape(begin[4])
        major, _, minor = begin[2].partition(b":")
        mounts.append(
            MountSeen(
                target=target,
                kind=last[0],
                source=_unescape(last[1]),
                root=_unescape(begin[3]),
                device=os.makedev(int(major), int(minor)),
                flags=tuple(os.fsdecode(begin[5]).split(",")),
                by=runner,
                is_other=target in first and begin[0] not in first[target],
            )
        )
    return tuple(mounts)


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)
