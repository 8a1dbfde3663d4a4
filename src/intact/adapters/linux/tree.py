"""Reads directory trees that belong to an attacker: the port `observe.ports.Tree` on this host.

In: a host directory. Out: nodes and reasons. Never follows a symbolic link, and never opens a FIFO, socket or device. It stands on a
detached, read-only, nodev, nosymfollow view of the directory where the kernel lets it; mounts below are not part of that.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Self

from intact.model.digest import SHA256, Algorithms
from intact.model.entry import Kind
from intact.model.errors import InputError
from intact.model.hashing import split_values
from intact.model.observation import Unobserved
from intact.observe.ports import Content, Node, Unsteady

from . import syscalls
from .content import Reading, Unreadable, hash_file, open_regular
from .known import HEAD_BYTES, KnownFiles, identify
from .nodes import Nodes
from .trail import ROOT, Trail
from .walk import DIRECTORY, Walk, say, split_names


class HostTree:
    """`path` and what is below it. `user_attributes`: the overlay keeps its attributes as `user.overlay.*` (its option `userxattr`)."""

    def __init__(self, path: bytes, *, user_attributes: bool = False, known: KnownFiles | None = None,
                 pace: Callable[[int], None] | None = None, drop_cache: bool = False) -> None:  # fmt: skip
        """Raises InputError if there is no such directory."""
        self._nodes = Nodes(known, user_attributes=user_attributes)
        self._known = known
        self._pace, self._drop_cache = pace, drop_cache
        try:
            plain = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"cannot open the directory {os.fsdecode(path)!r}: {error.strerror}", code="NoSuchTree") from None
        view = None
        try:
            view = syscalls.detach_view(plain)
            self._root = os.open(b".", DIRECTORY, dir_fd=view)
        except OSError:
            self._root = os.open(b".", DIRECTORY, dir_fd=plain)
        finally:
            os.close(plain)
        self._view = view
        if syscalls.is_in_memory(self._root):  # no time there tells of a store through a mapping
            self._known = None

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
        walk = Walk(self._root, self._nodes, start, ordered=ordered, after=after)
        try:
            for found in walk:
                yield found
                if time.monotonic() > deadline:
                    yield Unobserved(path=start, reason=f"not finished after {seconds:g} s, {walk.depth} directories deep")
                    return
        finally:
            walk.close()

    def visit(self, paths: Iterable[bytes]) -> Iterator[Node | Unobserved]:
        seen: set[bytes] = set()
        held: tuple[list[bytes], int, Trail] | None = None
        try:
            for path in sorted(set(paths)):
                *above, last = split_names(path) or [b"."]
                try:
                    if held is None or held[0] != above:  # names of one directory are looked at through one descriptor
                        if held is not None:
                            os.close(held[1])
                        held = None
                        held = yield from self._descend(above, seen)
                    here = b"/" if last == b"." else held[2].path_of(last)
                    if here not in seen:
                        node = self._nodes.examine(held[1], last, here)
                        seen.add(here)
                        yield node
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        yield Unobserved(path=path, reason=say(error))
        finally:
            if held is not None:
                os.close(held[1])

    def digest(self, node: Node, limit_bytes: int, algorithms: Algorithms = SHA256) -> Content | Unsteady | Unobserved:
        if self._known and (held := self._known.content(node.identity, algorithms)):
            return held
        try:
            descriptor = open_regular(node.directory, node.name)
        except (OSError, Unreadable) as error:
            return Unobserved(path=node.entry.path, reason=say(error))
        try:
            if os.fstat(descriptor).st_ino != node.identity[1]:
                return Unobserved(path=node.entry.path, reason="was replaced during the look")
            values, identity = hash_file(descriptor, limit_bytes, Reading(pace=self._pace, drop_cache=self._drop_cache), algorithms)
        except (OSError, Unreadable) as error:
            if isinstance(error, Unreadable) and error.read_last:
                content = Content(*split_values(algorithms, error.read_last))
                return Unsteady(path=node.entry.path, content=content, reason=say(error))
            return Unobserved(path=node.entry.path, reason=say(error))
        finally:
            os.close(descriptor)
        content = Content(*split_values(algorithms, values))
        if self._known:
            self._known.keep_content(identity, algorithms, content)
        return content

    def head(self, node: Node, size_bytes: int) -> bytes | Unobserved:
        if self._known and size_bytes <= HEAD_BYTES and (held := self._known.head(node.identity)) is not None:
            return held[:size_bytes]
        try:
            descriptor = open_regular(node.directory, node.name)
            try:
                found = os.pread(descriptor, max(size_bytes, HEAD_BYTES), 0)
                identity = identify(os.fstat(descriptor))
            finally:
                os.close(descriptor)
            if self._known and identity == node.identity:
                self._known.keep_head(identity, found[:HEAD_BYTES])
            return found[:size_bytes]
        except (OSError, Unreadable) as error:
            return Unobserved(path=node.entry.path, reason=say(error))

    def open(self, node: Node) -> int | Unobserved:
        try:
            return open_regular(node.directory, node.name)
        except (OSError, Unreadable) as error:
            return Unobserved(path=node.entry.path, reason=say(error))

    def _descend(self, names: list[bytes], seen: set[bytes]) -> Generator[Node, None, tuple[list[bytes], int, Trail]]:
        """The directory that `names` lead to, name by name; those not seen before are looked at. Raises OSError where it is none."""
        descriptor = os.open(b".", DIRECTORY, dir_fd=self._root)
        trail = ROOT
        try:
            for name in names:
                here = trail.path_of(name)
                if here not in seen:
                    node = self._nodes.examine(descriptor, name, here)
                    seen.add(here)
                    yield node
                    if node.entry.kind is not Kind.DIRECTORY:
                        raise NotADirectoryError(errno.ENOTDIR, "no directory")
                below = os.open(name, DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor, trail = below, trail.below(name)
        except BaseException:
            os.close(descriptor)
            raise
        return names, descriptor, trail


def open_root(path: Path) -> HostTree:
    """The tree at `path`, for people who name one."""
    return HostTree(os.fsencode(path))
