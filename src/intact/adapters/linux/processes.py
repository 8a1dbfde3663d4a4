"""Who a pid is, while it still is somebody.

In: a pid of this pid namespace and the moment since which it must have lived. Out: a `Process`, or None: exited, or too young to be sure
that it is the one that was meant. Never guesses. Arguments are what the process says of itself, the executable is what the kernel says.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from intact.model.process import Ancestor
from intact.observe.ports import Process

from .links import read_link
from .mounts import root_device

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
TICK_NS = 10**9 // TICKS_PER_SECOND
_ARGUMENT_BYTES = 4096
_ANCESTORS = 4


def now_ns() -> int:
    """The time since boot (CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def unix_time(at_ns: int) -> float:
    """A moment of CLOCK_BOOTTIME in Unix seconds, by today's clock."""
    return time.time() - (now_ns() - at_ns) / 1e9


def ticks_now() -> int:
    """The time since boot in the unit of `Process.started_ticks`, rounded down."""
    return now_ns() // TICK_NS


def describe_process(pid: int, *, alive_since_ticks: int) -> Process | None:
    """The process `pid` if it started before `alive_since_ticks`: it has held the pid ever since, so it is the one of any later event."""
    proc = Path("/proc") / str(pid)
    try:
        parent, started = read_stat(proc)
        if started >= alive_since_ticks:
            return None
        executable = read_link(os.fsencode(proc / "exe"))
        with (proc / "cmdline").open("rb") as file:
            arguments = file.read(_ARGUMENT_BYTES)
        device, uid = root_device(pid), read_uid(proc)
        if read_stat(proc)[1] != started:
            return None
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    words = tuple(arguments.rstrip(b"\0").split(b"\0")) if arguments else ()
    return Process(
        pid=pid,
        parent_pid=parent,
        executable=executable,
        arguments=words,
        started_ticks=started,
        root_device=device,
        parents=find_ancestors(pid, parent),
        uid=uid,
        started_at=unix_time(started * TICK_NS),
    )


def find_ancestors(pid: int, parent_pid: int) -> tuple[Ancestor, ...]:
    """From whom the living process `pid` descends, the nearest first: each is its child's parent before and after it was looked at."""
    found: list[Ancestor] = []
    while parent_pid and len(found) < _ANCESTORS:
        try:
            above = Path("/proc") / str(parent_pid)
            executable = read_link(os.fsencode(above / "exe"))
            further = read_stat(above)[0]
            if read_stat(Path("/proc") / str(pid))[0] != parent_pid:
                break
        except (OSError, ValueError, IndexError):
            break
        found.append(Ancestor(pid=parent_pid, executable=executable))
        pid, parent_pid = parent_pid, further
    return tuple(found)


def read_uid(proc: Path) -> int:
    """The effective user of a process, as the host sees it (proc_pid_status(5))."""
    with (proc / "status").open("rb") as lines:
        return next(int(line.split()[2]) for line in lines if line.startswith(b"Uid:"))


def read_stat(proc: Path) -> tuple[int, int]:
    """(ppid, starttime); the name in parentheses may itself hold parentheses and spaces (proc_pid_stat(5))."""
    fields = (proc / "stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[1]), int(fields[19])


def lives_on(pid: int) -> bool:
    """Whether the first thread of `pid` has ended and others go on without it: it is a zombie until the last one has ended (proc(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0] == b"Z" and int(fields[17]) > 1
    except (OSError, ValueError, IndexError):
        return False
