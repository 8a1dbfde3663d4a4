"""Which processes of this host are a container's.

In: containers' first processes and overlays. Out: the pids of each container. Needs the host's pid namespace. Never believes a name that a
process gives itself.

A process belongs to a container if

1. it did before: membership stays with a process until it ends, wherever it moves afterwards;
2. its control group is the container's, or below it: the group is the one in the path of the first process that bears the container's id;
3. its root is on the container's overlay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import syscalls
from .threads import Headless, find_thread

YOUNG_LOOKS = 3
"""A process that belongs to nobody is asked about this often at first: a runtime's process joins its container before it becomes the
container's program."""
OLD_EVERY = 6
"""Later only at every so many-th look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a container's processes have in common: control groups that are its own, and the st_dev of its overlay."""

    groups: frozenset[bytes]
    device: int


@dataclass(slots=True)
class _Known:
    inode: int
    container: str | None
    looks: int = 0


@dataclass(slots=True)
class Members:
    """Remembers processes by the inode of their directory in /proc, which no other process gets while this one lives."""

    _known: dict[int, _Known] = field(default_factory=dict)

    def gather(self, places: Mapping[str, Place]) -> dict[str, list[int]]:
        """The pids of each container, in order of /proc."""
        groups, devices = _index(places)
        found: dict[str, list[int]] = {id: [] for id in places}
        seen: dict[int, _Known] = {}
        with os.scandir("/proc") as entries:
            listed = [(int(entry.name), entry.inode()) for entry in entries if entry.name.isdigit()]
        for pid, inode in listed:
            known = self._known.get(pid)
            if known is None or known.inode != inode:
                known = _Known(inode, None)
            seen[pid] = known
            if known.container not in places:  # 1
                known.looks += 1
                if known.looks <= YOUNG_LOOKS or known.looks % OLD_EVERY == 0:
                    known.container = _find(pid, groups, devices)
            if known.container is not None and known.container in places:
                found[known.container].append(pid)
        self._known = seen
        return found


def find_groups(init_pid: int, container_id: str) -> frozenset[bytes]:
    """The control groups of a first process up to the part that names its container; none where no part does. Raises OSError."""
    name = os.fsencode(container_id.rpartition("/")[2])
    groups = set()
    for path in _read_groups(init_pid):
        parts = path.split(b"/")
        for number, part in enumerate(parts):
            if part == name or part.endswith(b"-" + name + b".scope"):
                groups.add(b"/".join(parts[: number + 1]))
                break
    return frozenset(groups)


def find(pid: int, places: Mapping[str, Place]) -> str | None:
    """The container of one process, by 2 and 3 alone."""
    return _find(pid, *_index(places))


def _index(places: Mapping[str, Place]) -> tuple[dict[bytes, str], dict[int, str]]:
    groups = {group: id for id, place in places.items() for group in place.groups}
    return groups, {place.device: id for id, place in places.items()}


def _find(pid: int, groups: Mapping[bytes, str], devices: Mapping[int, str]) -> str | None:
    try:
        for path in _read_groups(pid):  # 2
            above = path
            while above:
                if above in groups:
                    return groups[above]
                above = above.rpartition(b"/")[0]
        return devices.get(syscalls.device_of(b"/proc/%d/root" % (find_thread(pid) or pid)))  # 3
    except (OSError, Headless):
        return None


def _read_groups(pid: int) -> set[bytes]:
    """The paths in /proc/PID/cgroup (cgroups(7)), each once."""
    descriptor = os.open(f"/proc/{pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)
    return {line.split(b":", 2)[2] for line in data.split(b"\n") if line.count(b":") >= 2}
