"""What processes of containers executed and mapped to execute, as the kernel noted it, until somebody looks at it.

In: the kernel's notes, with whose they are (`executions`). Out: `Mapped`, each file once for a mount namespace. A note is of a container if
its process, or one that it descends from, was in the mount namespace of the container's first process: the container runtime executes and
maps its own program before it joins that. Never looks at a file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from intact.observe.lineage import Life

from .task_events import parse_file

MAX_NOTED = 1024
"""Different files between two looks; whoever maps more is looked at as a whole."""
MAX_ORDINARY = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """`pid` mapped the file at `path`, as that process saw it, to execute it; `is_program`: by executing it. `is_private`: for itself alone
    (MAP_PRIVATE), as a library is and what a compiler makes is not. `file` is the kernel's name of the file."""

    pid: int
    started_ns: int
    executable: bytes
    path: bytes
    file: bytes
    namespaces: tuple[int, ...]
    is_private: bool
    is_program: bool

    @property
    def device(self) -> int:
        return parse_file(self.file)[0]

    @property
    def inode(self) -> int:
        return parse_file(self.file)[1]


@dataclass(slots=True)
class Noted:
    """`homes`: the mount namespaces of containers, set by whoever looks. `wake`: to be called when there is something to look at. `take`,
    `stray` and `lose` are for the thread that hears the notes, the rest for the one that looks."""

    wake: Callable[[], None]
    homes: frozenset[int] = frozenset()
    ordinary: set[bytes] = field(default_factory=set)
    """Files that are in a read-only layer: nobody needs to look at them again."""
    _noted: dict[tuple[bytes, int], Mapped] = field(default_factory=dict)
    _strays: set[tuple[int, int]] = field(default_factory=set)
    _due: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, life: Life, path: bytes, file: bytes, *, is_private: bool, is_program: bool) -> None:
        """One that maps what somebody else did takes its place: it is the likelier to be there still."""
        mapped = Mapped(
            pid=life.pid,
            started_ns=life.started_ns,
            executable=life.executable,
            path=path,
            file=file,
            namespaces=life.namespaces,
            is_private=is_private,
            is_program=is_program,
        )
        key = (file, life.namespaces[-1])
        with self._lock:
            if key not in self._noted and len(self._noted) >= MAX_NOTED:
                self._due.update(life.namespaces)
            elif key not in self._noted or is_program or not self._noted[key].is_program:
                self._noted[key] = mapped

    def stray(self, life: Life, thread: int) -> None:
        """A thread of the process joined a mount namespace by itself."""
        with self._lock:
            self._due.update(life.namespaces)
            if len(self._strays) < MAX_NOTED:
                self._strays.add((life.pid, thread))

    def lose(self) -> None:
        """Notes were lost: a look at every container is due."""
        with self._lock:
            self._due.update(self.homes)

    @property
    def is_empty(self) -> bool:
        return not (self._noted or self._due)

    def drain(self) -> tuple[list[Mapped], frozenset[int], set[tuple[int, int]]]:
        """What was noted since the last time, the namespaces of whom a whole look is due, and which threads (pid, id) to look at then."""
        with self._lock:
            found, due, strays = list(self._noted.values()), frozenset(self._due), self._strays
            self._noted, self._strays, self._due = {}, set(), set()
        return found, due, strays

    def is_ordinary(self, file: bytes) -> None:
        """From now on `file` is not noted."""
        if len(self.ordinary) >= MAX_ORDINARY:
            self.ordinary.clear()
        self.ordinary.add(file)
