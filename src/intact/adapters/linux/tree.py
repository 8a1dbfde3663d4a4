"""Reads directory trees that belong to an attacker: the port `observe.ports.Tree` on this host.

In: a host directory. Out: nodes and reasons. Never follows a symbolic link, never opens a FIFO, socket or device, never holds more than a
few dozen descriptors however deep the tree, and never builds a path for the kernel out of more than one name.

1. Stand on a detached, read-only, nodev, nosymfollow view of the directory where the kernel lets us; mounts below it are not part of it.
2. List a directory by its descriptor; look at each name relative to it without following.
3. Descend by O_NOFOLLOW|O_DIRECTORY and check that it is the directory that was looked at.
4. Give up the descriptors of directories far above and return to them by file handle, else by `..` checked against what was there.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Self

from intact.model.digest import SHA256, Algorithms
from intact.model.entry import COMPARED_XATTRS, Entry, Kind, is_compared_xattr
from intact.model.errors import InputError
from intact.model.hashing import split_values
from intact.model.observation import Unobserved
from intact.observe.ports import Content, Node, Unsteady

from . import syscalls
from .content import Reading, Unreadable, hash_file, open_regular
from .known import HEAD_BYTES, Attributes, KnownFiles, identify
from .trail import ROOT, Trail

_KEPT_OPEN = 24
_NAMES_HELD = 500_000
_DEEPEST = 100_000
"""Directories on the way down; each that is still to be returned to takes about a kilobyte."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOTHING: Attributes = ((), ())
_NO_OVERLAY: MappingProxyType[bytes, bytes] = MappingProxyType({})
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK, stat.S_IFCHR: Kind.CHAR,
          stat.S_IFBLK: Kind.BLOCK, stat.S_IFIFO: Kind.FIFO, stat.S_IFSOCK: Kind.SOCKET}  # fmt: skip
_OVERLAY_NAMES = (b"opaque", b"redirect", b"metacopy", b"whiteout")
_ALWAYS_COMPARED = tuple(name for name in COMPARED_XATTRS if not name.endswith(b"."))
_TOO_MANY = (b"user.\xe2\x80\xa6", b"more names than listxattr(2) can tell")
"""Stands for a file's `user.` attributes where there are more: no image has it, so that it is a difference."""


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


class HostTree:
    """`path` and what is below it. `user_attributes`: the overlay keeps its attributes as `user.overlay.*` (its option `userxattr`)."""

    def __init__(self, path: bytes, *, user_attributes: bool = False, known: KnownFiles | None = None,
                 pace: Callable[[int], None] | None = None, drop_cache: bool = False) -> None:  # fmt: skip
        """Raises InputError if there is no such directory."""
        self._prefix = b"user.overlay." if user_attributes else b"trusted.overlay."
        self._known = self._known_contents = known
        self._pace, self._drop_cache = pace, drop_cache
        self._names_held = 0
        try:
            plain = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"cannot open the directory {os.fsdecode(path)!r}: {error.strerror}", code="NoSuchTree") from None
        view = None
        try:
            view = syscalls.detach_view(plain)
            self._root = os.open(b".", _DIRECTORY, dir_fd=view)
        except OSError:
            self._root = os.open(b".", _DIRECTORY, dir_fd=plain)
        finally:
            os.close(plain)
        self._view = view
        if syscalls.is_in_memory(self._root):  # no time there tells of a store through a mapping
            self._known_contents = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._root)
        if self._view is not None:
            os.close(self._view)

    def walk(
        self, start: bytes = b"/", *, ordered: bool = False, after: bytes = b"", seconds: float = 120.0
    ) -> Iterator[Node | Unobserved]:
        deadline = time.monotonic() + seconds
        levels: list[_Level] = []
        try:
            for found in self._walk(levels, start, ordered, after):
                yield found
                if time.monotonic() > deadline:
                    yield Unobserved(path=start, reason=f"not finished after {seconds:g} s, {len(levels)} directories deep")
                    return
        finally:
            self._names_held = 0
            for level in levels:
                _let_go(level)

    def _walk(self, levels: list[_Level], start: bytes, ordered: bool, after: bytes) -> Iterator[Node | Unobserved]:
        first = self._stand_on(start)
        if isinstance(first, Unobserved):
            yield first
        if not isinstance(first, _Level):
            return
        levels.append(first)
        assert first.descriptor is not None
        if start > after:
            try:
                yield self._examine(first.descriptor, b".", first.trail.itself())
            except OSError as error:
                yield Unobserved(path=first.trail.itself(), reason=_say(error))
        yield from self._begin(first, ordered, after)
        while levels:
            yield from self._step(levels, ordered, after)

    def visit(self, paths: Iterable[bytes]) -> Iterator[Node | Unobserved]:
        seen: set[bytes] = set()
        for path in sorted(set(paths)):
            yield from self._visit(path, seen)

    def digest(self, node: Node, limit_bytes: int, algorithms: Algorithms = SHA256) -> Content | Unsteady | Unobserved:
        if self._known_contents and (held := self._known_contents.content(node.identity, algorithms)):
            return held
        try:
            descriptor = open_regular(node.directory, node.name)
        except (OSError, Unreadable) as error:
            return Unobserved(path=node.entry.path, reason=_say(error))
        try:
            if os.fstat(descriptor).st_ino != node.identity[1]:
                return Unobserved(path=node.entry.path, reason="was replaced during the look")
            values, identity = hash_file(descriptor, limit_bytes, Reading(pace=self._pace, drop_cache=self._drop_cache), algorithms)
        except (OSError, Unreadable) as error:
            if isinstance(error, Unreadable) and error.read_last:
                content = Content(*split_values(algorithms, error.read_last))
                return Unsteady(path=node.entry.path, content=content, reason=_say(error))
            return Unobserved(path=node.entry.path, reason=_say(error))
        finally:
            os.close(descriptor)
        content = Content(*split_values(algorithms, values))
        if self._known_contents:
            self._known_contents.keep_content(identity, algorithms, content)
        return content

    def head(self, node: Node, size_bytes: int) -> bytes | Unobserved:
        if self._known_contents and size_bytes <= HEAD_BYTES and (held := self._known_contents.head(node.identity)) is not None:
            return held[:size_bytes]
        try:
            descriptor = open_regular(node.directory, node.name)
            try:
                found = os.pread(descriptor, max(size_bytes, HEAD_BYTES), 0)
                identity = identify(os.fstat(descriptor))
            finally:
                os.close(descriptor)
            if self._known_contents and identity == node.identity:
                self._known_contents.keep_head(identity, found[:HEAD_BYTES])
            return found[:size_bytes]
        except (OSError, Unreadable) as error:
            return Unobserved(path=node.entry.path, reason=_say(error))

    def open(self, node: Node) -> int | Unobserved:
        try:
            return open_regular(node.directory, node.name)
        except (OSError, Unreadable) as error:
            return Unobserved(path=node.entry.path, reason=_say(error))

    def _stand_on(self, path: bytes) -> _Level | Unobserved | None:
        """The directory at `path`, reached name by name; None if it is not there."""
        descriptor = os.open(b".", _DIRECTORY, dir_fd=self._root)
        trail = ROOT
        for name in _names(path):
            try:
                descriptor, above = os.open(name, _DIRECTORY, dir_fd=descriptor), descriptor
            except OSError as error:
                os.close(descriptor)
                gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
                return None if gone else Unobserved(path=path, reason=_say(error))
            os.close(above)
            trail = trail.below(name)
        return _Level(descriptor, trail, _identity(descriptor))

    def _begin(self, level: _Level, ordered: bool, after: bytes) -> Iterator[Node | Unobserved]:
        """2. Lists a directory just opened; without order, looks at its names at once."""
        assert level.descriptor is not None
        try:
            with os.scandir(level.descriptor) as listing:
                names = (os.fsencode(item.name) for item in listing)
                if ordered:
                    level.waiting = list(islice(names, max(0, _NAMES_HELD - self._names_held)))
                    left_out = sum(1 for _ in names)
                    heapq.heapify(level.waiting)
                    self._names_held += len(level.waiting)
                    if left_out:
                        yield Unobserved(path=level.trail.itself(), reason=f"{left_out} names left out: more than {_NAMES_HELD} at once")
                else:
                    for name in names:
                        yield from self._look(level, name, after)
        except OSError as error:
            yield Unobserved(path=level.trail.itself(), reason=_say(error))

    def _step(self, levels: list[_Level], ordered: bool, after: bytes) -> Iterator[Node | Unobserved]:
        level = levels[-1]
        if not level.waiting:
            levels.pop()
            self._leave(level, levels)
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
                yield from self._begin(entered, ordered, after)
        else:
            yield from self._look(level, name, after)

    def _look(self, level: _Level, name: bytes, after: bytes) -> Iterator[Node | Unobserved]:
        """2. One name; a directory is noted to be entered later, in its place in the order of paths."""
        assert level.descriptor is not None
        path = level.trail.path_of(name)
        try:
            node = self._examine(level.descriptor, name, path)
            may_be_directory = node.entry.kind is Kind.DIRECTORY
            if path > after:
                yield node
        except FileNotFoundError:
            return
        except OSError as error:
            yield Unobserved(path=path, reason=_say(error))
            may_be_directory = True  # what is below it is no less to be looked at
        if may_be_directory:
            below = path + b"/"
            if after >= below and not after.startswith(below):
                return
            if self._names_held >= _NAMES_HELD:
                yield Unobserved(path=path, reason=f"left out: more than {_NAMES_HELD} names are waiting")
                return
            self._names_held += 1
            heapq.heappush(level.waiting, name + b"/")

    def _enter(self, level: _Level, name: bytes) -> _Level | Unobserved | None:
        """3. Opens a directory; another file system mounted on it is not part of the tree."""
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=level.descriptor)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            reason = "is no directory any more" if error.errno in (errno.ENOTDIR, errno.ELOOP) else _say(error)
            return Unobserved(path=level.trail.path_of(name), reason=reason)
        identity = _identity(descriptor)
        if identity[0] != level.identity[0]:
            os.close(descriptor)
            return Unobserved(path=level.trail.path_of(name), reason="another file system is mounted here")
        return _Level(descriptor, level.trail.below(name), identity)

    def _leave(self, level: _Level, levels: list[_Level]) -> None:
        """4. Back to the directory above: by `..` if it has no descriptor and no handle."""
        if levels and levels[-1].descriptor is None and levels[-1].handle is None and level.descriptor is not None:
            with contextlib.suppress(OSError):  # then what is left there counts as moved away
                above = os.open(b"..", _DIRECTORY, dir_fd=level.descriptor)
                if _identity(above) == levels[-1].identity:
                    levels[-1].descriptor = above
                else:
                    os.close(above)
        _let_go(level)

    def _return_to(self, level: _Level) -> bool:
        """4. Opens a directory again by its handle."""
        if level.handle is None:
            return False
        try:
            level.descriptor = syscalls.open_by_handle(self._root, level.handle, _DIRECTORY)
        except OSError:
            return False
        return True

    def _visit(self, path: bytes, seen: set[bytes]) -> Iterator[Node | Unobserved]:
        descriptor = os.open(b".", _DIRECTORY, dir_fd=self._root)
        trail = ROOT
        try:
            if path == b"/" and path not in seen:
                seen.add(path)
                yield self._examine(descriptor, b".", b"/")
            for name in _names(path):
                here = trail.path_of(name)
                node = self._examine(descriptor, name, here)
                if here not in seen:
                    seen.add(here)
                    yield node
                if node.entry.kind is not Kind.DIRECTORY:
                    return
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor, trail = below, trail.below(name)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                yield Unobserved(path=path, reason=_say(error))
        finally:
            os.close(descriptor)

    def _examine(self, directory: int, name: bytes, path: bytes) -> Node:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        identity = identify(status)
        attributes = self._known.attributes(identity) if self._known else None
        if attributes is None:
            attributes = self._attributes(directory, name)
            if self._known:
                self._known.keep_attributes(identity, attributes)
        is_device = kind in (Kind.CHAR, Kind.BLOCK)
        entry = Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size_bytes=status.st_size if kind is Kind.FILE else 0,
            target=os.readlink(name, dir_fd=directory) if kind is Kind.SYMLINK else b"",
            device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else None,
            xattrs=attributes[0],
        )
        overlay = MappingProxyType(dict(attributes[1])) if attributes[1] else _NO_OVERLAY
        return Node(entry=entry, overlay=overlay, links=status.st_nlink, name=name, directory=directory, identity=identity)

    def _attributes(self, directory: int, name: bytes) -> Attributes:
        """The compared attributes and overlayfs's own by exact name: one that a nested overlay escaped has no effect (overlayfs.rst)."""
        path = b"/proc/self/fd/%d/%s" % (directory, name)
        try:
            names = [os.fsencode(found) for found in os.listxattr(path, follow_symlinks=False)]
            compared = []
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.EPERM):
                return _NOTHING
            if error.errno != errno.E2BIG:
                raise
            names = [*_ALWAYS_COMPARED, *(self._prefix + last for last in _OVERLAY_NAMES)]
            compared = [_TOO_MANY]
        overlay = []
        for found in sorted(names):
            last = found[len(self._prefix) :] if found.startswith(self._prefix) else b""
            if last in _OVERLAY_NAMES and (value := _attribute(path, found)) is not None:
                overlay.append((last, value))
            elif is_compared_xattr(found) and (value := _attribute(path, found)) is not None:
                compared.append((found, value))
        if not compared and not overlay:
            return _NOTHING
        return tuple(sorted(compared)), tuple(overlay)


def _attribute(path: bytes, name: bytes) -> bytes | None:
    """None if it is gone, though it was listed a moment ago: whoever sets and removes it in a loop does not end the look."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def open_root(path: Path) -> HostTree:
    """The tree at `path`, for people who name one."""
    return HostTree(os.fsencode(path))


def _names(path: bytes) -> list[bytes]:
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
    """4. Closes a directory that is still to be returned to."""
    if level.descriptor is not None and level.handle is None:
        level.handle = _handle(level.descriptor)
    _let_go(level)


def _let_go(level: _Level) -> None:
    if level.descriptor is not None:
        os.close(level.descriptor)
        level.descriptor = None


def _say(error: OSError | Unreadable) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"{errno.errorcode.get(error.errno, str(error.errno))}: {os.strerror(error.errno)}"
    return str(error)
