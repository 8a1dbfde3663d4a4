"""Through which thread the kernel still shows a process, and which of many threads are looked at.

In: a pid. Out: the pid itself, or the id of a thread of that process that has its files; or threads to look at. A first thread that ended
(pthread_exit(3)) leaves a zombie without a program, a root and namespaces, while the others run on; /proc/TID has for each of them what
/proc/PID had.
"""

from __future__ import annotations

import os

from .links import read_link

ATTEMPTS = 3
MAX_THREADS = 64
"""Threads asked in one attempt: one that lives is enough."""
LOOKED_AT = 64
"""Threads of one process in one look; of more, each has its turn."""


class Headless(Exception):
    """The first thread of a process has ended, and none of the others held still to be looked at; the reason is for people."""


def find_thread(pid: int) -> int | None:
    """`pid` while its first thread lives, else another thread of it; None for a process that has ended. Raises PermissionError where the
    process may not be looked at, `Headless` where only its threads' coming and going was seen."""
    for _ in range(ATTEMPTS):
        try:
            read_link(b"/proc/%d/exe" % pid)
            return pid
        except (FileNotFoundError, ProcessLookupError):
            others = _list_others(pid)
        for thread in others[:MAX_THREADS]:
            try:
                read_link(b"/proc/%d/exe" % thread)
                return thread
            except (FileNotFoundError, ProcessLookupError):
                continue
        if not others:
            return None
    raise Headless("its first thread has ended, and no other held still")


def has_ended(pid: int) -> bool:
    """Whether no thread of `pid` runs any more, though nobody may have noted its end yet (a zombie). False where it cannot be told."""
    try:
        return find_thread(pid) is None
    except (OSError, Headless):
        return False


class Turns:
    """Which threads are looked at next. Those that were `found` to be other than their process are looked at again every time."""

    def __init__(self) -> None:
        self._number = 0
        self._found: dict[tuple[int, int], int] = {}

    def begin(self) -> None:
        """A new sweep."""
        self._number += 1
        self._found = {key: number for key, number in self._found.items() if number >= self._number - 2}

    def choose(self, pid: int) -> list[int]:
        others = sorted(_list_others(pid))
        if len(others) <= LOOKED_AT:
            return others
        first = self._number * LOOKED_AT % len(others)
        turn = (others + others[:LOOKED_AT])[first : first + LOOKED_AT]
        return [*(thread for of, thread in self._found if of == pid and thread not in turn), *turn]

    def found(self, pid: int, thread: int) -> None:
        self._found[pid, thread] = self._number


def _list_others(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(b"/proc/%d/task" % pid) if int(name) != pid]
    except (FileNotFoundError, ProcessLookupError):
        return []
