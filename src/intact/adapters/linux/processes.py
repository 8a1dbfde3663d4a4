"""Who a pid is, while it still is somebody.

In: a pid of this pid namespace and the moment since which it must have lived. Out: a `Process`, or None: exited, or too young to be sure
that it is the one that was meant. Never guesses. Arguments are what the process says of itself, the executable is what the kernel says.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from intact.observe.ports import Process

from .mounts import root_device

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_ARGUMENT_BYTES = 4096


def ticks_now() -> int:
    """The time since boot in the unit of `Process.started_ticks`, rounded down."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)


def describe_process(pid: int, *, alive_since_ticks: int) -> Process | None:
    """The process `pid` if it started before `alive_since_ticks`: it has held the pid ever since, so it is the one of any later event."""
    proc = Path("/proc") / str(pid)
    try:
        parent, started = _read_stat(proc)
        if started >= alive_since_ticks:
            return None
        executable = os.readlink(os.fsencode(proc / "exe"))
        with (proc / "cmdline").open("rb") as file:
            arguments = file.read(_ARGUMENT_BYTES)
        device = root_device(pid)
        if _read_stat(proc)[1] != started:
            return None
    except (OSError, ValueError, IndexError):
        return None
    words = tuple(arguments.rstrip(b"\0").split(b"\0")) if arguments else ()
    return Process(pid=pid, parent_pid=parent, executable=executable, arguments=words, started_ticks=started, root_device=device)


def _read_stat(proc: Path) -> tuple[int, int]:
    """(ppid, starttime); the name in parentheses may itself hold parentheses and spaces (proc_pid_stat(5))."""
    fields = (proc / "stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[1]), int(fields[19])
