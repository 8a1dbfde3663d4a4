"""Who had a pid, and from whom it descends: the lives of processes, as the kernel tells of their beginnings and ends.

In: forks, executions and ends, in order of time, and the processes that were there before. Out: the one process that had a pid in a span of
time, or None. Never guesses: where two had it, or where something of the span was not heard, nobody is named. Times are nanoseconds of
CLOCK_BOOTTIME. Not for use by two threads at once.

1. A life begins with a fork and ends with the end of its process; a pid that begins anew has ended before. What is heard of a pid that has
   ended and not begun anew is of a thread that outlived the first one for a moment, or took its place by an execution.
2. A child runs its parent's program until it executes another; the first file that is then mapped to be executed is that program.
3. Lives that ended are kept for `KEPT_NS`, and at most `MOST_ENDED` of them: what was before that is not known.
4. When events were lost, nothing is known but what is there to be seen now.
5. A child begins in its parent's mount namespace; which ones it and those it descends from were in is kept, the last `NAMESPACES` of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from intact.model.process import Ancestor

KEPT_NS = 10 * 10**9
MOST_ENDED = 4000
MOST_ALIVE = 100_000
ANCESTORS = 4
NAMESPACES = 4
_PATH_BYTES = 1024


@dataclass(slots=True)
class Life:
    """One process. `name` is what it was executed as, `executable` the program's path, empty where it is not known. `arguments` and `uid`
    are what somebody read while it ran this program."""

    pid: int
    parent_pid: int
    started_ns: int
    ancestors: tuple[Ancestor, ...]
    executable: bytes = b""
    name: bytes = b""
    ended_ns: int | None = None
    awaits_program: bool = False
    arguments: tuple[bytes, ...] = ()
    uid: int | None = None
    root_device: int | None = None
    namespaces: tuple[int, ...] = (0,)
    """Inodes of mount namespaces, the present one last; 0 for one that nobody knows."""


@dataclass(slots=True)
class Lineage:
    """`complete_since_ns`: from then on nothing was missed."""

    complete_since_ns: int
    _lives: dict[int, list[Life]] = field(default_factory=dict)
    _ended: deque[tuple[int, Life]] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._lives)

    def find_alive(self, pid: int) -> Life | None:
        lives = self._lives.get(pid)
        return lives[-1] if lives and lives[-1].ended_ns is None else None

    def find_last(self, pid: int) -> Life | None:
        """1. Whose all is that is heard of `pid` now, and is no fork."""
        lives = self._lives.get(pid)
        return lives[-1] if lives else None

    def seed(self, pid: int, parent_pid: int, started_ns: int, executable: bytes, namespace: int = 0) -> None:
        """A process that was there before. `started_ns` is no earlier than it began."""
        if self.find_alive(pid) is None:
            self._begin(Life(pid, parent_pid, started_ns, (), executable, namespaces=(namespace,)))

    def link(self) -> None:
        """After the last of those that were there before: from whom they descend."""
        for life in [lives[-1] for lives in self._lives.values()]:
            above: list[Ancestor] = []
            parent = self.find_alive(life.parent_pid)
            while parent is not None and len(above) < ANCESTORS:
                above.append(Ancestor(pid=parent.pid, executable=parent.executable))
                parent = self.find_alive(parent.parent_pid)
            life.ancestors = life.ancestors or tuple(above)

    def fork(self, pid: int, parent_pid: int, at_ns: int) -> None:
        """1, 2."""
        parent = self.find_last(parent_pid)
        self.end(pid, at_ns)
        if parent is None:
            self._begin(Life(pid, parent_pid, at_ns, (Ancestor(pid=parent_pid, executable=b""),)))
            return
        above = (Ancestor(pid=parent_pid, executable=parent.executable), *parent.ancestors[: ANCESTORS - 1])
        self._begin(Life(pid, parent_pid, at_ns, above, parent.executable, parent.name, namespaces=parent.namespaces))

    def execute(self, pid: int, name: bytes, at_ns: int) -> None:
        """1, 2."""
        life = self.find_last(pid)
        if life is None:
            life = Life(pid, 0, at_ns, ())
            self._begin(life)
        life.ended_ns = None
        life.executable, life.name, life.awaits_program = b"", name, True
        life.arguments, life.uid = (), None

    def map(self, pid: int, path: bytes) -> tuple[Life | None, bool]:
        """1, 2. A file was mapped to be executed: by whom, and whether it is its program."""
        life = self.find_last(pid)
        if life is None or not life.awaits_program:
            return life, False
        life.executable, life.awaits_program = path[:_PATH_BYTES], False
        return life, True

    def join(self, pid: int, namespace: int) -> None:
        """5. It has this mount namespace now, if it had not before."""
        life = self.find_last(pid)
        if life is not None and life.namespaces[-1] != namespace:
            life.namespaces = (*life.namespaces, namespace)[-NAMESPACES:]

    def end(self, pid: int, at_ns: int) -> None:
        life = self.find_alive(pid)
        if life is not None:
            life.ended_ns = at_ns
            self._ended.append((at_ns, life))

    def forget(self, now_ns: int) -> None:
        """3."""
        while self._ended and (len(self._ended) > MOST_ENDED or self._ended[0][0] < now_ns - KEPT_NS):
            ended_ns, life = self._ended.popleft()
            if life.ended_ns != ended_ns:  # a thread took its place
                continue
            self.complete_since_ns = max(self.complete_since_ns, ended_ns)
            lives = self._lives[life.pid]
            lives.remove(life)
            if not lives:
                del self._lives[life.pid]

    def lose(self, at_ns: int) -> None:
        """4. Whoever calls this seeds anew."""
        self._lives.clear()
        self._ended.clear()
        self.complete_since_ns = at_ns

    def find(self, pid: int, since_ns: int, until_ns: int) -> Life | None:
        """The one process that had `pid` between the two moments, for part of that time or all of it."""
        fitting = [
            life
            for life in self._lives.get(pid, ())
            if life.started_ns <= until_ns and (life.ended_ns is None or life.ended_ns >= since_ns)
        ]
        if len(fitting) != 1:
            return None
        life = fitting[0]
        return None if life.started_ns > since_ns < self.complete_since_ns else life

    def _begin(self, life: Life) -> None:
        if len(self._lives) >= MOST_ALIVE:
            self.lose(life.started_ns)
        self._lives.setdefault(life.pid, []).append(life)
