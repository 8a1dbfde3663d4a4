"""What the events of a file system mean for the watched directories.

In: where something happened (a host path) and what kind of thing. Out: `Rings`: per watched directory the paths to look at. Never touches a
file, and treats an event as "this path is dirty", never as what happened: the kernel merges, renames and reorders.

1. A path belongs to the watched directory it is below; anything else is not ours.
2. Below an overlay's work directory (`work` beside the upper one) nothing is drift: what becomes of it arrives under its own name.
3. A name that appeared, went or was moved is dirty with everything below it.
4. A watched directory with too many dirty paths is dirty as a whole.
5. Then, too, paths beside which little else rings are told apart: a crowd elsewhere does not put off the look at them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from intact.model.entry import parent

from .flood import RARE_ALL, RARE_EACH
from .ports import Process, Rings

LARGEST_SET = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """A host path inside a watched directory: `inside` is absolute there (`/` for the directory itself)."""

    watched: bytes
    inside: bytes

    def entry(self, name: bytes) -> bytes:
        return (b"" if self.inside == b"/" else self.inside) + b"/" + name


@dataclass(frozen=True, slots=True)
class WorkPlace:
    """A host path in the work directory beside the watched one."""

    watched: bytes


def keep_rare(paths: Collection[bytes]) -> frozenset[bytes]:
    """5. Those of `paths` beside which little else rings."""
    beside = Counter(parent(path.rstrip(b"/")) for path in paths)
    rare = {above for above, count in beside.items() if count <= RARE_EACH}
    if len(rare) > RARE_ALL:
        return frozenset()
    return frozenset(path for path in paths if parent(path.rstrip(b"/")) in rare)


@dataclass(slots=True)
class RingBook:
    """Collects what is dirty until somebody takes it. Not for use by two threads at once."""

    _watched: set[bytes] = field(default_factory=set)
    _works: dict[bytes, bytes] = field(default_factory=dict)
    _dirty: dict[bytes, set[bytes] | None] = field(default_factory=dict)
    _writers: dict[bytes, dict[bytes, Process | None]] = field(default_factory=dict)
    _executed: dict[bytes, dict[bytes, Process | None]] = field(default_factory=dict)
    _apart: dict[bytes, set[bytes]] = field(default_factory=dict)
    _beside: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    _replaced: dict[bytes, set[bytes]] = field(default_factory=dict)
    _overflows: int = 0

    def __bool__(self) -> bool:
        return bool(self._dirty or self._apart or self._executed or self._overflows)

    def watch(self, directories: Iterable[bytes]) -> None:
        for directory in directories:
            self._watched.add(directory)
            self._works[directory.rpartition(b"/")[0] + b"/work"] = directory

    def forget(self, directories: Iterable[bytes]) -> None:
        for directory in directories:
            self._watched.discard(directory)
            self._works.pop(directory.rpartition(b"/")[0] + b"/work", None)
            self._dirty.pop(directory, None)
            self._writers.pop(directory, None)
            self._executed.pop(directory, None)
            self._replaced.pop(directory, None)
            self._apart.pop(directory, None)
            self._beside.pop(directory, None)

    def place(self, path: bytes) -> Place | WorkPlace | None:
        """1, 2. Whose `path` is; None if nobody's."""
        above = path
        while above:
            if above in self._watched:
                return Place(above, path[len(above) :] or b"/")
            if above in self._works:
                return WorkPlace(self._works[above])
            above = above.rpartition(b"/")[0]
        return None

    def mark(self, watched: bytes, path: bytes, *, with_below: bool = False) -> None:
        """3, 4. `path` inside `watched` is dirty."""
        paths = self._dirty.setdefault(watched, set())
        if paths is None:
            self._mark_rare(watched, path, with_below=with_below)
            return
        if path == b"/":
            self.mark_whole(watched)
            return
        paths.add(path.rstrip(b"/") + b"/" if with_below else path)
        if len(paths) > LARGEST_SET:
            for rare in keep_rare(paths):
                self._mark_rare(watched, rare)
            self.mark_whole(watched)

    def _mark_rare(self, watched: bytes, path: bytes, *, with_below: bool = False) -> None:
        """5. `path`, unless enough rang beside it."""
        beside = self._beside.setdefault(watched, {})
        above = parent(path.rstrip(b"/"))
        if path != b"/" and len(beside) < RARE_ALL and beside.get(above, 0) < RARE_EACH:
            beside[above] = beside.get(above, 0) + 1
            self.mark_apart(watched, path, with_below=with_below)

    def mark_whole(self, watched: bytes) -> None:
        self._dirty[watched] = None

    def mark_apart(self, watched: bytes, path: bytes, *, with_below: bool = False) -> None:
        """`path` inside `watched`, which floods, is dirty and worth a look of its own."""
        paths = self._apart.setdefault(watched, set())
        if len(paths) < LARGEST_SET and path != b"/":
            paths.add(path.rstrip(b"/") + b"/" if with_below else path)

    def mark_everything(self, lost: int = 1) -> None:
        """So many events were lost, or more: anything may have changed anywhere."""
        self._overflows += lost

    def sign(self, watched: bytes, path: bytes, describe: Callable[[], Process | None]) -> None:
        """Notes who touched `path`; asks only the first time, and only for as many paths as a set holds."""
        writers = self._writers.setdefault(watched, {})
        if path not in writers and len(writers) < LARGEST_SET:
            writers[path] = describe()

    def note_execution(self, watched: bytes, path: bytes, describe: Callable[[], Process | None]) -> None:
        """Notes that `path` was executed, and by whom; beyond as many paths as a set holds, that anything may have been."""
        executed = self._executed.setdefault(watched, {})
        if path not in executed and len(executed) < LARGEST_SET:
            executed[path] = describe()
        elif path not in executed:
            self._overflows += 1

    def note_replaced(self, watched: bytes, path: bytes) -> None:
        """Notes that the file that was executed as `path` is not there any more."""
        if path in self._executed.get(watched, ()):
            self._replaced.setdefault(watched, set()).add(path)

    def take(self) -> Rings:
        """What is dirty, and a clean page."""
        rings = Rings(
            dirty={watched: None if paths is None else frozenset(paths) for watched, paths in self._dirty.items()},
            overflowed=self._overflows > 0,
            lost=self._overflows,
            writers=self._writers,
            executed=self._executed,
            apart={watched: frozenset(paths) for watched, paths in self._apart.items()},
            replaced={watched: frozenset(paths) for watched, paths in self._replaced.items()},
        )
        self._apart, self._beside = {}, {}
        self._dirty, self._writers, self._executed, self._replaced, self._overflows = {}, {}, {}, {}, 0
        return rings
