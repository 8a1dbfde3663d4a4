"""One walk through a directory tree that belongs to an attacker, however deep and however full it is.

In: a directory to start at. Out: a node for each name, or why it could not be looked at. Never holds more than a few dozen descriptors, nor
more names than a bound, and never builds a path for the kernel out of more than one name.

1. List a directory by its descriptor; look at each name relative to it without following.
2. Descend by O_NOFOLLOW|O_DIRECTORY and check that it is the directory that was looked at.
3. Give up the descriptors of directories far above and return to them by file handle, else by `..` checked against what was there.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from intact.model.entry import Kind
from intact.model.errors import InputError
from intact.model.observation import Unobserved
from intact.observe.ports import Node

from . import syscalls
from .content import Unreadable
from .nodes import Nodes
from .trail import ROOT, Trail

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_OPEN = 24
_NAMES_HELD = 500_000
_DEEPEST = 100_000
"""Directories on the way down; each that is still to be returned to takes about a kilobyte."""


@dataclass(slots=True)
class _Level:
    """A directory that is being walked: names still to look at (ordered walks), directories still to enter."""

    descriptor: int | None
    trail: Trail
    identity: tuple[int, int]
    """Device and inode."""
    handle: bytes | None = None
    """The way back, once the descriptor was given up."""
    waiting: list[bytes] = field(default_factory=list)


class Walk:
    """Below the directory `start` of the tree `root` (a descriptor, which stays the caller's): in the order of paths, byte by byte, if
    `ordered`; of paths after `after` only. `close` lets go of what a walk that was not finished holds."""

    def __init__(self, root: int, nodes: Nodes, start: bytes, *, ordered: bool, after: bytes) -> None:
        self._root, self._nodes = root, nodes
        self._start, self._ordered, self._after = start, ordered, after
        self._levels: list[_Level] = []
        self._names_held = 0

    @property
    def depth(self) -> int:
        """Directories that it stands in."""
        return len(self._levels)

    def close(self) -> None:
        for level in self._levels:
            _let_go(level)

    def __iter__(self) -> Iterator[Node | Unobserved]:
        first = self._stand_on_start()
        if isinstance(first, Unobserved):
            yield first
        if not isinstance(first, _Level):
            return
        self._levels.append(first)
        assert first.descriptor is not None
        if self._start > self._after:
            try:
                yield self._nodes.examine(first.descriptor, b".", first.trail.itself())
            except OSError as error:
                yield Unobserved(path=first.trail.itself(), reason=say(error))
        yield from self._begin(first)
        while self._levels:
            yield from self._step()

    def _stand_on_start(self) -> _Level | Unobserved | None:
        """The directory to start at, reached name by name; None if it is not there."""
        descriptor = os.open(b".", DIRECTORY, dir_fd=self._root)
        trail = ROOT
        for name in split_names(self._start):
            try:
                descriptor, above = os.open(name, DIRECTORY, dir_fd=descriptor), descriptor
            except OSError as error:
                os.close(descriptor)
                gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
                return None if gone else Unobserved(path=self._start, reason=say(error))
            os.close(above)
            trail = trail.below(name)
        return _Level(descriptor, trail, _identity(descriptor))

    def _begin(self, level: _Level) -> Iterator[Node | Unobserved]:
        """1. Lists a directory just opened; without order, looks at its names at once."""
        assert level.descriptor is not None
        try:
            with os.scandir(level.descriptor) as listing:
                names = (os.fsencode(item.name) for item in listing)
                if self._ordered:
                    level.waiting = list(islice(names, max(0, _NAMES_HELD - self._names_held)))
                    left_out = sum(1 for _ in names)
                    heapq.heapify(level.waiting)
                    self._names_held += len(level.waiting)
                    if left_out:
                        yield Unobserved(path=level.trail.itself(), reason=f"{left_out} names left out: more than {_NAMES_HELD} at once")
                else:
                    for name in names:
                        yield from self._look(level, name)
        except OSError as error:
            yield Unobserved(path=level.trail.itself(), reason=say(error))

    def _step(self) -> Iterator[Node | Unobserved]:
        levels = self._levels
        level = levels[-1]
        if not level.waiting:
            levels.pop()
            self._leave(level)
            return
        name = heapq.heappop(level.waiting)
        self._names_held -= 1
        if level.descriptor is None and not self._return_to(level):
            yield Unobserved(path=level.trail.itself(), reason="was moved or removed during the look")
            self._names_held -= len(level.waiting)
            level.waiting.clear()
        elif name.endswith(b"/") and len(levels) >= _DEEPEST:
            yield Unobserved(path=level.trail.path_of(name[:-1]), reason=f"below {_DEEPEST} directories")
        elif name.endswith(b"/"):
            entered = self._enter(level, name[:-1])
            if isinstance(entered, Unobserved):
                yield entered
            elif entered is not None:
                levels.append(entered)
                if len(levels) > _KEPT_OPEN:
                    _give_up(levels[-_KEPT_OPEN - 1])
                yield from self._begin(entered)
        else:
            yield from self._look(level, name)

    def _look(self, level: _Level, name: bytes) -> Iterator[Node | Unobserved]:
        """1. One name; a directory is noted to be entered later, in its place in the order of paths."""
        assert level.descriptor is not None
        path = level.trail.path_of(name)
        try:
            node = self._nodes.examine(level.descriptor, name, path)
            may_be_directory = node.entry.kind is Kind.DIRECTORY
            if path > self._after:
                yield node
        except FileNotFoundError:
            return
        except OSError as error:
            yield Unobserved(path=path, reason=say(error))
            may_be_directory = True  # what is below it is no less to be looked at
        if may_be_directory:
            below = path + b"/"
            if self._after >= below and not self._after.startswith(below):
                return
            if self._names_held >= _NAMES_HELD:
                yield Unobserved(path=path, reason=f"left out: more than {_NAMES_HELD} names are waiting")
                return
            self._names_held += 1
            heapq.heappush(level.waiting, name + b"/")

    def _enter(self, level: _Level, name: bytes) -> _Level | Unobserved | None:
        """2. Opens a directory; another file system mounted on it is not part of the tree."""
        try:
            descriptor = os.open(name, DIRECTORY, dir_fd=level.descriptor)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            reason = "is no directory any more" if error.errno in (errno.ENOTDIR, errno.ELOOP) else say(error)
            return Unobserved(path=level.trail.path_of(name), reason=reason)
        identity = _identity(descriptor)
        if identity[0] != level.identity[0]:
            os.close(descriptor)
            return Unobserved(path=level.trail.path_of(name), reason="another file system is mounted here")
        return _Level(descriptor, level.trail.below(name), identity)

    def _leave(self, level: _Level) -> None:
        """3. Back to the directory above: by `..` if it has no descriptor and no handle."""
        levels = self._levels
        if levels and levels[-1].descriptor is None and levels[-1].handle is None and level.descriptor is not None:
            with contextlib.suppress(OSError):  # then what is left there counts as moved away
                above = os.open(b"..", DIRECTORY, dir_fd=level.descriptor)
                if _identity(above) == levels[-1].identity:
                    levels[-1].descriptor = above
                else:
                    os.close(above)
        _let_go(level)

    def _return_to(self, level: _Level) -> bool:
        """3. Opens a directory again by its handle."""
        if level.handle is None:
            return False
        try:
            level.descriptor = syscalls.open_by_handle(self._root, level.handle, DIRECTORY)
        except OSError:
            return False
        return True


def split_names(path: bytes) -> list[bytes]:
    """The names on the way to `path`. Raises InputError if one of them is none."""
    names = [name for name in path.split(b"/") if name]
    if b"." in names or b".." in names:
        raise InputError(f"not a plain path: {path!r}")
    return names


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _handle(descriptor: int) -> bytes | None:
    try:
        return syscalls.name_to_handle(descriptor)
    except OSError:
        return None


def _give_up(level: _Level) -> None:
    """3. Closes a directory that is still to be returned to."""
    if level.descriptor is not None and level.handle is None:
        level.handle = _handle(level.descriptor)
    _let_go(level)


def _let_go(level: _Level) -> None:
    if level.descriptor is not None:
        os.close(level.descriptor)
        level.descriptor = None


def say(error: OSError | Unreadable) -> str:
    """Why something could not be looked at, by the name of the error."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{errno.errorcode.get(error.errno, str(error.errno))}: {os.strerror(error.errno)}"
    return str(error)
